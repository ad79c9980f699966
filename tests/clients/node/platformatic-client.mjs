// A client of @platformatic/kafka that runs one scenario and prints its observations as JSON.
//
//   node platformatic-client.mjs <brokers> admin|records|group|transactions <topic>
import {
  Admin,
  Consumer,
  MessagesStreamModes,
  Producer,
  ProduceAcks,
  stringDeserializers,
  stringSerializers,
} from '@platformatic/kafka';

const [brokers, scenario, topic] = process.argv.slice(2);
const connection = { clientId: 'platformatic-client', bootstrapBrokers: brokers.split(',') };
const scenarios = { admin, records, group, transactions };
process.stdout.write(JSON.stringify(await scenarios[scenario]()));

async function admin() {
  const client = new Admin(connection);
  const name = `${topic}-group`;
  const [created] = await client.createTopics({
    topics: [topic],
    partitions: 2,
    replicas: 1,
    configs: [{ name: 'retention.ms', value: '60000' }],
  });
  await client.createPartitions({ topics: [{ name: topic, count: 3, assignments: null }] });
  await produce({}, [{ topic, partition: 1, value: 'a value' }]);
  const consumer = new Consumer({ ...connection, groupId: name });
  const stream = await consumer.consume({
    topics: [topic],
    mode: MessagesStreamModes.EARLIEST,
    autocommit: false,
  });
  const listed = await client.listGroups({ states: ['STABLE'] });
  const others = await client.listGroups({ states: ['EMPTY'] });
  const described = (await client.describeGroups({ groups: [name] })).get(name);
  await stream.close();
  await consumer.close();
  const [dirs] = await client.describeLogDirs({ topics: [{ name: topic, partitions: [0, 1, 2] }] });
  const acls = await client
    .describeAcls({
      filter: {
        resourceType: 1,
        resourceName: null,
        resourcePatternType: 1,
        principal: null,
        host: null,
        operation: 1,
        permissionType: 1,
      },
    })
    .catch((error) => error.errors?.[0]?.errors?.[0]?.apiId ?? error.message);
  const [configs] = await client.describeConfigs({
    resources: [{ resourceType: 2, resourceName: topic, configurationKeys: ['retention.ms'] }],
  });
  await client.deleteGroups({ groups: [name] });
  await client.deleteTopics({ topics: [topic] });
  const seen = {
    created: [created.partitions, created.replicas, created.configuration['retention.ms']],
    state: listed.get(name)?.state,
    filtered: others.has(name),
    members: described.members.size,
    hasBytes: dirs.results
      .flatMap((dir) => dir.topics.flatMap(({ partitions }) => partitions))
      .filter(({ partitionSize }) => partitionSize > 0)
      .map(({ partitionIndex }) => partitionIndex),
    acls,
    retention: configs.configs[0].value,
    deleted: !(await client.listTopics()).includes(topic),
  };
  await client.close();
  return seen;
}

/**
 * Sends keys and headers with every codec of the client, to <topic>-<codec>; counts the records that come
 * back unchanged.
 */
async function records() {
  const seen = {};
  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    const sent = Array.from({ length: 100 }, (_, number) => ({
      topic: `${topic}-${codec}`,
      partition: 0,
      key: `key-${number}`,
      value: 'compressible '.repeat(number),
      headers: { h: '1' },
    }));
    await produce({ compression: codec, idempotent: true, acks: ProduceAcks.ALL }, sent);
    const got = await read(`${topic}-${codec}`, sent.length);
    seen[codec] = got.filter(
      ({ key, value, headers }, i) =>
        key === sent[i].key && value === sent[i].value && headers.get('h') === '1',
    ).length;
  }
  return seen;
}

/** Reads and commits, then continues as another member of the group. */
async function group() {
  await produce(
    {},
    Array.from({ length: 100 }, (_, number) => ({ topic, partition: 0, value: String(number) })),
  );
  const values = [];
  for (const count of [60, 40]) {
    const got = await read(topic, count, { groupId: `${topic}-group` });
    values.push(...got.map(({ value }) => Number(value)));
  }
  return { inOrder: values.every((value, i) => value === i) && values.length === 100 };
}

/**
 * Copies <topic> to <topic>-copy with its offsets: aborted, then committed by a new producer of the same id.
 */
async function transactions() {
  await produce(
    {},
    Array.from({ length: 20 }, (_, number) => ({ topic, partition: 0, value: String(number) })),
  );
  const seen = {};
  for (const ending of ['abort', 'commit']) {
    const consumer = newConsumer(`${topic}-group`);
    const stream = await consumer.consume({
      topics: [topic],
      mode: MessagesStreamModes.COMMITTED,
      fallbackMode: 'earliest',
      autocommit: false,
    });
    const got = await take(stream, 20);
    const producer = new Producer({
      ...connection,
      autocreateTopics: true,
      serializers: stringSerializers,
      idempotent: true,
      transactionalId: `${topic}-copy`,
      // "No producer yet". By default it claims to be producer 0, and Kafka fences any other.
      producerId: -1n,
      producerEpoch: -1,
    });
    const transaction = await producer.beginTransaction();
    await transaction.send({
      messages: got.map(({ value }) => ({
        topic: `${topic}-copy`,
        partition: 0,
        value: `${ending} ${value}`,
      })),
    });
    await transaction.addConsumer(consumer);
    await transaction.addOffset(got.at(-1));
    await (ending === 'abort' ? transaction.abort() : transaction.commit());
    await producer.close();
    await stream.close();
    await consumer.close();
    const client = new Admin(connection);
    const [offsets] = await client.listConsumerGroupOffsets({ groups: [`${topic}-group`] });
    seen[ending] = offsets.topics.flatMap(({ partitions }) =>
      partitions.map((each) => Number(each.committedOffset)),
    );
    await client.close();
  }
  seen.read_committed = (await read(`${topic}-copy`, 1, { isolationLevel: 1 }))[0].value;
  seen.read_uncommitted = (await read(`${topic}-copy`, 1, { isolationLevel: 0 }))[0].value;
  return seen;
}

async function produce(options, messages) {
  const producer = new Producer({ ...connection, autocreateTopics: true, serializers: stringSerializers });
  await producer.send({ ...options, messages });
  await producer.close();
}

function newConsumer(groupId) {
  return new Consumer({ ...connection, groupId, deserializers: stringDeserializers });
}

/** With a group it commits what it has read; without one, it reads from the beginning. */
async function read(name, count, { groupId, isolationLevel } = {}) {
  const consumer = newConsumer(groupId ?? `${name}-${Math.random()}`);
  const stream = await consumer.consume({
    topics: [name],
    mode: MessagesStreamModes.COMMITTED,
    fallbackMode: 'earliest',
    autocommit: false,
    isolationLevel,
  });
  const got = await take(stream, count);
  if (groupId !== undefined) await got.at(-1).commit();
  await stream.close();
  await consumer.close();
  return got;
}

/** The stream stays open: leaving a `for await` would end it. */
function take(stream, count) {
  return new Promise((resolve, reject) => {
    const got = [];
    stream.on('data', (message) => {
      if (got.push(message) < count) return;
      stream.pause();
      resolve(got.slice(0, count));
    });
    stream.on('error', reject);
  });
}
