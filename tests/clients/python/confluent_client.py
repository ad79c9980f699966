"""A confluent-kafka client that runs one scenario and prints its observations as JSON.

    python confluent_client.py <brokers> admin|records|group|transactions <topic>
"""

import json
import sys

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

POLL_S = 20


def main(brokers: str, scenario: str, topic: str) -> None:
    scenarios = {"admin": admin, "records": records, "group": group, "transactions": transactions}
    print(json.dumps(scenarios[scenario](brokers, topic)))


def admin(brokers: str, topic: str) -> dict:
    client = AdminClient({"bootstrap.servers": brokers})
    seen = {}
    client.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "60000"})])[topic].result()
    client.create_partitions([NewPartitions(topic, 3)])[topic].result()
    seen["partitions"] = len(client.list_topics(topic).topics[topic].partitions)

    resource = ConfigResource(ResourceType.TOPIC, topic)
    seen["retention"] = client.describe_configs([resource])[resource].result()["retention.ms"].value
    change = ConfigEntry("retention.ms", "604800000", incremental_operation=AlterConfigOpType.SET)
    altered = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    client.incremental_alter_configs([altered])[altered].result()
    seen["alteredRetention"] = client.describe_configs([resource])[resource].result()["retention.ms"].value

    send(brokers, topic, [("k", str(number)) for number in range(10)], partition=1)
    one = TopicPartition(topic, 1)
    latest = client.list_offsets({one: OffsetSpec.latest()})[one].result()
    seen["end"] = latest.offset
    name = f"{topic}-admin-group"
    at_four = ConsumerGroupTopicPartitions(name, [TopicPartition(topic, 1, 4)])
    client.alter_consumer_group_offsets([at_four])[name].result()
    listed = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])[name].result()
    seen["committed"] = [(offset.partition, offset.offset) for offset in listed.topic_partitions]
    seen["state"] = client.describe_consumer_groups([name])[name].result().state.name
    seen["listed"] = name in [one.group_id for one in client.list_consumer_groups().result().valid]
    client.delete_consumer_groups([name])[name].result()
    deleted = client.delete_records([TopicPartition(topic, 1, 6)])
    seen["lowWatermark"] = [future.result().low_watermark for future in deleted.values()]
    client.delete_topics([topic])[topic].result()
    seen["deleted"] = topic not in client.list_topics().topics
    return seen


def records(brokers: str, topic: str) -> dict:
    """Sends keys and headers with every codec, to <topic>-<codec>; counts the records that come back unchanged."""
    seen = {}
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        sent = [(f"key-{number}", "compressible " * number) for number in range(100)]
        send(brokers, f"{topic}-{codec}", sent, {"compression.type": codec})
        with_codec = open_consumer(brokers, f"{topic}-{codec}-reader", f"{topic}-{codec}")
        got = take(with_codec, len(sent))
        with_codec.close()
        seen[codec] = sum(
            (message.key().decode(), message.value().decode()) == pair and message.headers() == [("h", b"1")]
            for message, pair in zip(got, sent)
        )
    return seen


def group(brokers: str, topic: str) -> dict:
    """Reads and commits, then continues as another member of the group, with cooperative rebalancing."""
    send(brokers, topic, [("k", str(number)) for number in range(100)])
    settings = {"partition.assignment.strategy": "cooperative-sticky"}
    values = []
    for count in [60, 40]:
        member = open_consumer(brokers, f"{topic}-group", topic, settings)
        values += [int(message.value()) for message in take(member, count)]
        member.commit(asynchronous=False, offsets=[TopicPartition(topic, 0, len(values))])
        member.close()
    return {"inOrder": values == list(range(100))}


def transactions(brokers: str, topic: str) -> dict:
    """Copies <topic> to <topic>-copy with its offsets: aborted, then committed by a new producer of the same id."""
    send(brokers, topic, [("k", str(number)) for number in range(20)])
    seen = {}
    for ending in ["abort", "commit"]:
        producer = Producer({"bootstrap.servers": brokers, "transactional.id": f"{topic}-copy"})
        producer.init_transactions(POLL_S)
        source = open_consumer(brokers, f"{topic}-group", topic)
        producer.begin_transaction()
        for message in take(source, 20):
            producer.produce(f"{topic}-copy", value=f"{ending} {message.value().decode()}")
        producer.send_offsets_to_transaction(
            source.position(source.assignment()), source.consumer_group_metadata(), POLL_S
        )
        if ending == "abort":
            # Aborted records must have reached the log.
            producer.flush(POLL_S)
            producer.abort_transaction(POLL_S)
        else:
            producer.commit_transaction(POLL_S)
        seen[ending] = source.committed([TopicPartition(topic, 0)], POLL_S)[0].offset
        source.close()
    for isolation in ["read_committed", "read_uncommitted"]:
        reader = open_consumer(brokers, f"{topic}-{isolation}", f"{topic}-copy", {"isolation.level": isolation})
        seen[isolation] = take(reader, 1)[0].value().decode()
        reader.close()
    return seen


def send(brokers: str, topic: str, pairs: list, settings: dict = {}, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, **settings})
    failures = []
    for key, value in pairs:
        producer.produce(
            topic,
            key=key,
            value=value,
            partition=partition,
            headers={"h": "1"},
            on_delivery=lambda error, _message: failures.append(error) if error else None,
        )
    unsent = producer.flush(POLL_S)
    if failures or unsent:
        raise RuntimeError(f"{unsent} records were not sent, {len(failures)} failed: {failures[:1]}")


def open_consumer(brokers: str, name: str, topic: str, settings: dict = {}) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": name,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **settings,
        }
    )
    consumer.subscribe([topic])
    return consumer


def take(consumer: Consumer, count: int) -> list:
    taken = []
    while len(taken) < count:
        message = consumer.poll(POLL_S)
        if message is None:
            raise RuntimeError(f"{len(taken)} of {count} records came, then none for {POLL_S} s")
        if message.error():
            raise RuntimeError(message.error())
        taken.append(message)
    return taken


if __name__ == "__main__":
    main(*sys.argv[1:])
