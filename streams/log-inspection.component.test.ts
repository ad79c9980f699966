import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import { eventually, unique } from '../tests/contract/client.js';
import { FlakyNetwork } from '../tests/contract/flaky-network.js';
import { StreamsFixture } from '../tests/contract/streams-fixture.js';
import { TwoBrokers } from '../tests/contract/two-brokers.js';
import type { StreamsSettings } from './connection.js';
import { kafkajs } from './kafkajs.js';
import { LogInspection } from './log-inspection.js';
import type { Permission } from './log-permissions.js';
import type { Streams } from './streams.js';

let fixture: StreamsFixture;
let streams: Streams;
let log: LogInspection;

beforeAll(async () => {
  fixture = await StreamsFixture.start();
  ({ streams } = fixture.open());
  log = new LogInspection({
    brokers: fixture.broker.brokers,
    clientId: 'inspection-test',
    logger: silentLogger,
  });
});
afterAll(async () => {
  await log.close();
  await fixture.close();
});

function permissions(topic: string, group: string): Permission[] {
  return [
    ...(['DESCRIBE', 'READ', 'WRITE', 'DESCRIBE_CONFIGS'] as const).map(
      (operation) => ({ operation, resource: 'topic', name: topic }) as const,
    ),
    { operation: 'CREATE', resource: 'topic', name: `${topic}-not-there` },
    { operation: 'READ', resource: 'group', name: group },
    { operation: 'WRITE', resource: 'transactional-id', name: group },
  ];
}

it('checks permissions and changes nothing', async () => {
  const topic = await fixture.topic(streams, 2);
  const producer = await streams.createProducer();
  await producer.send([{ topic, partition: 0, key: 'a', value: Buffer.from('a') }]);
  const [ends, topics] = [
    await streams.ends(topic),
    (await streams.topics()).filter((name) => !name.startsWith('__')),
  ];
  for (const permission of permissions(topic, unique('group')))
    expect([permission, await log.isAllowed(permission)]).toEqual([permission, true]);
  expect(await streams.ends(topic)).toEqual(ends);
  expect((await streams.topics()).filter((name) => !name.startsWith('__'))).toEqual(topics);
});

it('checks a transactional id without fencing its holder', async () => {
  const topic = await fixture.topic(streams);
  const transactionalId = unique('transactional');
  const producer = await streams.createTransactionalProducer(transactionalId);
  await producer.commit([{ topic, key: 'a', value: Buffer.from('a') }]);
  expect(
    await log.isAllowed({ operation: 'WRITE', resource: 'transactional-id', name: transactionalId }),
  ).toBe(true);
  await producer.commit([{ topic, key: 'b', value: Buffer.from('b') }]);
  const clock = await log.clockAhead(topic, 0);
  expect(Math.abs(clock?.aheadMs ?? Number.NaN)).toBeLessThan(10_000);
});

it('reports denied permissions, if the broker has access lists', { timeout: 60_000 }, async (test) => {
  // The embedded broker serves no ACL requests; Apache Kafka does in CI (APACHE_KAFKA_ACCESS_LISTS).
  test.skip(fixture.broker.embedded, 'the embedded broker has no access lists');
  const topic = await fixture.topic(streams);
  const group = unique('group');
  const admin = new kafkajs.Kafka({
    brokers: fixture.broker.brokers,
    logLevel: kafkajs.logLevel.NOTHING,
  }).admin();
  await admin.connect();
  const { AclResourceTypes: types, AclOperationTypes: operations } = kafkajs;
  const resources = { topic: types.TOPIC, group: types.GROUP, 'transactional-id': types.TRANSACTIONAL_ID };
  // DESCRIBE is part of READ and WRITE, and checked first: it is denied elsewhere.
  const wanted = permissions(topic, group).filter(({ operation }) => operation !== 'DESCRIBE');
  const acl = wanted.map(({ operation, resource, name }) => ({
    resourceType: resources[resource],
    resourceName: name,
    resourcePatternType: kafkajs.ResourcePatternTypes.LITERAL,
    principal: 'User:ANONYMOUS',
    host: '*',
    operation: operations[operation],
    permissionType: kafkajs.AclPermissionTypes.DENY,
  }));
  try {
    await admin.createAcls({ acl }).catch((error: Error & { type?: string }) => {
      // An external Kafka of a developer may have no authorizer; any other refusal is a failure.
      test.skip(error.type === 'SECURITY_DISABLED', error.message);
      throw error;
    });
    await eventually(async () =>
      (await Promise.all(wanted.map((each) => log.isAllowed(each)))).every((allowed) => !allowed),
    );
  } finally {
    await admin.disconnect();
  }
});

it('lists brokers, topics with their settings, and groups', async () => {
  const topic = await fixture.topic(streams, 2, { 'retention.ms': '12345' });
  const [state] = await log.topics([topic]);
  expect(state?.partitions.map(({ partition, inSync }) => [partition, inSync.length])).toEqual([
    [0, 1],
    [1, 1],
  ]);
  expect(state?.settings?.get('retention.ms')).toBe('12345');
  const brokers = await log.brokers();
  expect(brokers[0]?.connectedInMs).toBeGreaterThan(0);
  expect(await log.missingRequests()).toEqual([]);
  expect(await log.mayDropMarkers()).toBe(false);
  const groupId = unique('group');
  await streams.consume({ groupId, topics: [topic], handle: () => Promise.resolve() });
  await eventually(async () => (await log.groups([groupId]))[0]?.state === 'Stable');
  expect(await log.groups([groupId])).toEqual([{ groupId, state: 'Stable', members: 1 }]);
});

/** An inspection of the log over its own network, which the test can break. */
function inspect(settings: Partial<StreamsSettings> = {}): { log: LogInspection; network: FlakyNetwork } {
  const network = new FlakyNetwork();
  const own = { brokers: fixture.broker.brokers, socketFactory: network.socketFactory, ...settings };
  const inspection = new LogInspection({ clientId: 'inspection-test', logger: silentLogger, ...own });
  onTestFinished(() => inspection.close());
  return { log: inspection, network };
}

it('answers after an outage, though it was called during one', async () => {
  const { log: looking, network } = inspect();
  network.cut();
  await expect(looking.missingRequests()).rejects.toThrow();
  await expect(looking.topicNames()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
  network.restore();
  expect(await looking.missingRequests()).toEqual([]);
  const topic = await fixture.topic(streams);
  expect(await looking.topicNames()).toContain(topic);
  await looking.close();
  await expect.poll(() => network.connections).toBe(0);
});

it.each<[string, (looking: LogInspection) => Promise<unknown>]>([
  ['requests', (looking) => looking.missingRequests()],
  ['topics', (looking) => looking.topicNames()],
])('asked for %s keeps no connection to a hanging broker', async (_, ask) => {
  const mute = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
  onTestFinished(() => void mute.close());
  await once(mute, 'listening');
  const { log: looking, network } = inspect({
    brokers: [`127.0.0.1:${(mute.address() as AddressInfo).port}`],
    sasl: { mechanism: 'plain', username: 'nobody', password: 'none' },
    timeoutMs: 200,
  });
  await expect(ask(looking)).rejects.toThrow();
  await expect.poll(() => network.connections).toBe(0);
});

it('reports each time which broker is unavailable, and closes the connections of the check', async () => {
  const two = await TwoBrokers.start(Number(fixture.broker.brokers[0]?.split(':')[1]));
  onTestFinished(() => two.stop());
  const network = new FlakyNetwork();
  const { log: looking } = inspect({
    brokers: [`127.0.0.1:${two.first.port}`],
    // The second broker's address has no listener.
    socketFactory: (to) => network.socketFactory({ ...to, port: to.port === two.second.port ? 1 : to.port }),
  });
  // kafkajs asks a random broker.
  for (let time = 0; time < 10; time++) {
    const brokers = await looking.brokers();
    expect(brokers.map(({ id, error }) => [id, error === undefined])).toEqual([
      [1, true],
      [2, false],
    ]);
  }
  await looking.close();
  await expect.poll(() => network.connections).toBe(0);
});

it('recognises brokers that may drop markers by their supported requests', async () => {
  const { proxy, address } = await startNewerBroker(fixture.broker.brokers[0] ?? '');
  const newer = new LogInspection({ brokers: [address], clientId: 'inspection-test', logger: silentLogger });
  try {
    expect(await newer.mayDropMarkers()).toBe(true);
    expect(await newer.missingRequests()).toEqual([]);
  } finally {
    await newer.close();
    proxy.close();
  }
});

const apiVersions = 18;

/** Connects to a broker whose first answer, the supported requests, includes DescribeLogDirs 1 to 5. */
async function startNewerBroker(behind: string): Promise<{ proxy: Server; address: string }> {
  const [host = '', port = ''] = behind.split(':');
  const proxy = createServer((client) => {
    const broker = connect(Number(port), host);
    client.once('data', (request) => {
      // Other connections send another request first.
      if (request.readInt16BE(4) === apiVersions) broker.once('data', addRequest);
      else broker.pipe(client);
    });
    const addRequest = (answer: Buffer): void => {
      // Size, correlation id, error, number of requests; of each request its key, oldest and newest version;
      // the rest.
      const count = answer.readInt32BE(10);
      const taken = Array.from({ length: count }, (_, index) =>
        answer.subarray(14 + 6 * index, 20 + 6 * index),
      ).filter((request) => request.readInt16BE(0) !== 35);
      const requests = [...taken, Buffer.from([0, 35, 0, 1, 0, 5])];
      const head = Buffer.from(answer.subarray(0, 14));
      head.writeInt32BE(answer.readInt32BE(0) + 6 * (requests.length - count), 0);
      head.writeInt32BE(requests.length, 10);
      client.write(Buffer.concat([head, ...requests, answer.subarray(14 + 6 * count)]));
      broker.pipe(client);
    };
    client.pipe(broker);
    client.on('error', () => broker.destroy());
    broker.on('error', () => client.destroy());
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return { proxy, address: `127.0.0.1:${(proxy.address() as AddressInfo).port}` };
}
