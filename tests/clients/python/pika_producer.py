"""Publishes credit-card clients to a queue, as a program that does not know Millrace.

Usage: pika_producer.py AMQP_URL CLIENTS_JSON QUEUE
"""

import json
import sys
from datetime import datetime, timezone

import pika


def main():
    url, clients, queue = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(queue=queue, durable=True)

    for number, client in enumerate(clients, start=1):
        record = {"ID": number, **client, "timestamp": datetime.now(timezone.utc).isoformat()}
        channel.basic_publish(
            exchange="",
            routing_key=queue,
            body=json.dumps(record),
            properties=pika.BasicProperties(delivery_mode=2),
        )

    connection.close()
    print(json.dumps({"published": len(clients)}))


if __name__ == "__main__":
    main()
