"""Asks for the score of one credit-card client after the other, and prints the replies as a JSON list.

Usage: pika_request_reply.py AMQP_URL QUEUE CLIENTS_JSON
"""

import json
import sys
import time
import uuid

import pika


class ScoringClient:
    def __init__(self, url, queue):
        self.queue = queue
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.queue_declare(queue=queue, durable=True)
        result = self.channel.queue_declare(queue="", exclusive=True)
        self.callback_queue = result.method.queue
        self.channel.basic_consume(
            queue=self.callback_queue,
            on_message_callback=self.on_response,
            auto_ack=True,
        )
        self.correlation_id = None
        self.response = None

    def on_response(self, channel, method, properties, body):
        if properties.correlation_id == self.correlation_id:
            self.response = json.loads(body)

    def score(self, client, timeout=30):
        self.response = None
        self.correlation_id = str(uuid.uuid4())
        self.channel.basic_publish(
            exchange="",
            routing_key=self.queue,
            properties=pika.BasicProperties(
                reply_to=self.callback_queue,
                correlation_id=self.correlation_id,
                content_type="application/json",
            ),
            body=json.dumps(client),
        )
        deadline = time.monotonic() + timeout
        while self.response is None:
            self.connection.process_data_events(time_limit=1)
            if time.monotonic() > deadline:
                raise TimeoutError("no reply")
        return self.response

    def close(self):
        self.connection.close()


def main():
    url, queue, clients = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    scoring = ScoringClient(url, queue)
    print(json.dumps([scoring.score(client) for client in clients]))
    scoring.close()


if __name__ == "__main__":
    main()
