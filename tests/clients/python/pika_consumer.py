"""Prints the messages of a queue of results, one JSON line each, up to a number.

Usage: pika_consumer.py AMQP_URL QUEUE COUNT
"""

import json
import sys

import pika


def main():
    url, queue, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    received = 0

    def on_result(channel, method, properties, body):
        nonlocal received
        result = {
            "routing_key": method.routing_key,
            "message_id": properties.message_id,
            "delivery_mode": properties.delivery_mode,
            "content_type": properties.content_type,
            "body": json.loads(body),
        }
        print(json.dumps(result), flush=True)
        channel.basic_ack(delivery_tag=method.delivery_tag)
        received += 1
        if received == count:
            channel.stop_consuming()

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(queue=queue, durable=True)
    channel.basic_qos(prefetch_count=10)
    channel.basic_consume(queue=queue, on_message_callback=on_result)
    print("waiting", file=sys.stderr, flush=True)
    channel.start_consuming()
    connection.close()


if __name__ == "__main__":
    main()
