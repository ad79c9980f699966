"""An aiokafka client that runs one scenario and prints its observations as JSON.

    python aiokafka_client.py <brokers> admin|records|group|transactions <topic>
"""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

POLL_S = 20


async def main(brokers: str, scenario: str, topic: str) -> None:
    scenarios = {"admin": admin, "records": records, "group": group, "transactions": transactions}
    print(json.dumps(await scenarios[scenario](brokers, topic)))


async def admin(brokers: str, topic: str) -> dict:
    client = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await client.start()
    try:
        seen = {}
        await client.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "60000"})])
        await client.create_partitions({topic: NewPartitions(3)})
        [described] = await client.describe_topics([topic])
        seen["partitions"] = len(described["partitions"])
        seen["retention"] = await setting(client, topic, "retention.ms")
        changed = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "604800000"})
        await client.alter_configs([changed])
        seen["alteredRetention"] = await setting(client, topic, "retention.ms")
        await client.delete_topics([topic])
        seen["deleted"] = topic not in await client.list_topics()
        return seen
    finally:
        await client.close()


async def setting(client: AIOKafkaAdminClient, topic: str, name: str) -> str:
    [response] = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [resource] = response.resources
    return next(config[1] for config in resource[4] if config[0] == name)


async def records(brokers: str, topic: str) -> dict:
    """Sends keys and headers with every codec, to <topic>-<codec>; counts the records that come back unchanged."""
    seen = {}
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        sent = [(f"key-{number}".encode(), b"compressible " * number) for number in range(100)]
        await send(brokers, f"{topic}-{codec}", sent, None if codec == "none" else codec)
        async with reader(brokers, f"{topic}-{codec}") as consumer:
            got = await take(consumer, len(sent))
        seen[codec] = sum(
            (message.key, message.value) == pair and message.headers == (("h", b"1"),)
            for message, pair in zip(got, sent)
        )
    return seen


async def group(brokers: str, topic: str) -> dict:
    """Reads and commits, then continues as another member of the group."""
    await send(brokers, topic, [(b"k", str(number).encode()) for number in range(100)])
    values = []
    for count in [60, 40]:
        async with reader(brokers, topic, group_id=f"{topic}-group") as consumer:
            values += [int(message.value) for message in await take(consumer, count)]
            await consumer.commit({TopicPartition(topic, 0): len(values)})
    return {"inOrder": values == list(range(100))}


async def transactions(brokers: str, topic: str) -> dict:
    """Copies <topic> to <topic>-copy with its offsets: aborted, then committed by a new producer of the same id."""
    await send(brokers, topic, [(b"k", str(number).encode()) for number in range(20)])
    partition = TopicPartition(topic, 0)
    seen = {}
    for ending in ["abort", "commit"]:
        producer = AIOKafkaProducer(bootstrap_servers=brokers, transactional_id=f"{topic}-copy")
        async with producer, reader(brokers, topic, group_id=f"{topic}-group") as source:
            await producer.begin_transaction()
            got = await take(source, 20)
            for message in got:
                await producer.send_and_wait(f"{topic}-copy", ending.encode() + b" " + message.value)
            await producer.send_offsets_to_transaction({partition: got[-1].offset + 1}, f"{topic}-group")
            await (producer.abort_transaction() if ending == "abort" else producer.commit_transaction())
            seen[ending] = await source.committed(partition)
    for isolation in ["read_committed", "read_uncommitted"]:
        async with reader(brokers, f"{topic}-copy", isolation_level=isolation) as consumer:
            seen[isolation] = (await take(consumer, 1))[0].value.decode()
    return seen


async def send(brokers: str, topic: str, pairs: list, codec: str | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=brokers, compression_type=codec, enable_idempotence=True)
    async with producer:
        sends = [
            await producer.send(topic, value, key, partition=0, headers=[("h", b"1")]) for key, value in pairs
        ]
        await asyncio.gather(*sends)


def reader(brokers: str, topic: str, **settings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic, bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False, **settings
    )


async def take(consumer: AIOKafkaConsumer, count: int) -> list:
    return [await asyncio.wait_for(consumer.getone(), POLL_S) for _ in range(count)]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
