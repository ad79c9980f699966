import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import { eventually, unique } from '../tests/contract/client.js';
import { apiKeys, type FlakyNetwork } from '../tests/contract/flaky-network.js';
import { StreamsFixture } from '../tests/contract/streams-fixture.js';
import type { Streams } from '../streams/streams.js';
import type { RunningServer } from '../embedded/local-http.js';
import { startSchemaRegistry } from '../embedded/schema-registry/server.js';
import { TopicLog } from './schema-registry-topic.js';
import { RegistryClient, v1, v2 } from '../embedded/schema-registry/testing/test-registry.js';

let fixture: StreamsFixture;
const running: RunningServer[] = [];
beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});
afterAll(() => fixture.close());

/** Opens a registry as a separate process would. */
async function start(topic: string): Promise<{ registry: RegistryClient; network: FlakyNetwork }> {
  const { streams, network } = fixture.open();
  const log = new TopicLog(streams, topic);
  const server = await startSchemaRegistry({ host: '127.0.0.1', port: 0, log, logger: silentLogger });
  running.push(server);
  return { registry: new RegistryClient(`http://127.0.0.1:${server.port}`), network };
}

test('a registry has what one before it was told, through a compacted topic', async () => {
  const topic = unique('schemas');
  const { registry: first } = await start(topic);
  expect(await first.register('s', v1)).toEqual([200, { id: 1 }]);
  expect(await first.register('s', v2)).toEqual([200, { id: 2 }]);
  await first.call('DELETE', '/subjects/s/versions/1');
  await first.call('PUT', '/config', { compatibility: 'FULL' });
  const { registry: second } = await start(topic);
  for (const path of [
    '/subjects',
    '/schemas?deleted=true',
    '/subjects/s/versions',
    '/config',
    '/schemas/ids/1',
  ])
    expect(await second.call('GET', path)).toEqual(await first.call('GET', path));
  expect(await second.register('t', v2)).toEqual([200, { id: 2 }]);
});

test('of two registries the later one registers, and both know it', async () => {
  const topic = unique('schemas');
  const { registry: first } = await start(topic);
  await first.register('s', v1);
  const { registry: second } = await start(topic);
  expect(await second.register('s', v2)).toEqual([200, { id: 2 }]);
  await eventually(async () => (await first.call('GET', '/schemas/ids/2'))[0] === 200);
  for (const _ of [1, 2])
    expect(await first.register('t', v1)).toEqual([
      500,
      { error_code: 50001, message: expect.stringContaining('SCHEMA_REGISTRY_URL') as string },
    ]);
  expect(await second.call('GET', '/subjects')).toEqual([200, ['s']]);
});

test('a registration whose outcome is unknown is looked up before the next is decided', async () => {
  const topic = unique('schemas');
  const { registry, network } = await start(topic);
  await registry.register('s', v1);
  network.loseAnswer(apiKeys.endTxn);
  const [status] = await registry.register('s', v2);
  expect([200, 500]).toContain(status);
  expect(await registry.register('s', v2)).toEqual([200, { id: 2 }]);
  expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1, 2]]);
  const { registry: after } = await start(topic);
  expect(await after.call('GET', '/subjects/s/versions')).toEqual([200, [1, 2]]);
});

test('an append that can’t be settled leaves no producer behind', async () => {
  const { streams, network } = fixture.open();
  let producers = 0;
  let isBehind = false;
  const watched: Streams = {
    ...streams,
    async createTransactionalProducer(id) {
      const producer = await streams.createTransactionalProducer(id);
      producers++;
      return {
        commit: (records) => producer.commit(records),
        close: () => (producers--, producer.close()),
      };
    },
    async follow(options) {
      const follower = await streams.follow(options);
      return {
        stop: () => follower.stop(),
        status: () => follower.status(),
        whenCaughtUp: (limit) =>
          isBehind ? Promise.reject(new Error('behind')) : follower.whenCaughtUp(limit),
      };
    },
  };
  const log = new TopicLog(watched, unique('schemas'));
  for await (const _ of log.read(() => undefined));
  const records = [{ key: Buffer.from('key'), value: null }];
  network.loseAnswer(apiKeys.endTxn);
  isBehind = true;
  await expect(log.append(records)).rejects.toThrow();
  await expect(log.append(records)).rejects.toThrow('behind');
  expect(producers).toBe(0);
  isBehind = false;
  await expect(log.append(records)).rejects.toThrow('Try again');
  await log.append(records);
  expect(producers).toBe(1);
  await log.close();
});
