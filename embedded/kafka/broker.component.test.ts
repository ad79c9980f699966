import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { apis } from './apis/index.js';
import { KafkaBroker } from './broker.js';
import type { KafkaBrokerOptions } from './broker.js';
import { transactionalFlag } from './protocol/record-batch.js';
import { startKafka } from './start.js';
import { textBatch, WireClient } from './testing/wire-client.js';

let dataDir: string;
let broker: KafkaBroker;
let port: number;
let client: WireClient;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-broker-'));
  await start();
});

afterEach(async () => {
  client.close();
  await broker.stop();
  await rm(dataDir, { recursive: true, force: true });
});

test('produced records are fetched, and are still there after a restart, with topic and settings', async () => {
  expect(await client.createTopic('t', 2, { 'retention.ms': '1234567' })).toBe(0);
  expect(await client.produce('t', 1, textBatch(['a', 'b']))).toEqual({ errorCode: 0, baseOffset: 0 });
  expect(await client.produce('t', 1, textBatch(['c']))).toEqual({ errorCode: 0, baseOffset: 2 });
  await restart();
  expect((await client.readAll('t', 1, false)).map(({ value }) => value)).toEqual(['a', 'b', 'c']);
  expect(await client.createTopic('t')).toBe(36);
  expect(await describedConfig('t', 'retention.ms')).toBe('1234567');
});

test('settings of all brokers together, which kafka-configs asks for, are described as unset', async () => {
  const brokerType = 4;
  expect(await describeConfigs(brokerType, '')).toEqual({ errorCode: 0, configs: [] });
  expect((await describeConfigs(brokerType, '1')).configs).toContainEqual(['broker.id', '1']);
  expect(await describeConfigs(brokerType, '2')).toEqual({ errorCode: 42, configs: [] });
});

test('pipelined requests are answered in their order, and produce requests among them share the disk', async () => {
  await client.createTopic('t');
  const order: number[] = [];
  const calls = Array.from({ length: 100 }, async (_, i) => {
    if (i % 10 === 9) await client.fetch('t', 0, 0);
    else await client.produce('t', 0, textBatch([`v${i}`]));
    order.push(i);
  });
  await Promise.all(calls);
  expect(order).toEqual(Array.from({ length: 100 }, (_, i) => i));
  const expected = Array.from({ length: 100 }, (_, i) => i).filter((i) => i % 10 !== 9);
  expect((await client.readAll('t', 0, false)).map(({ value }) => value)).toEqual(
    expected.map((i) => `v${i}`),
  );
});

test('acks=0 gets no answer', async () => {
  await client.createTopic('t');
  await client.produce('t', 0, textBatch(['quiet']), { acks: 0 });
  expect(await client.produce('t', 0, textBatch(['loud']))).toEqual({ errorCode: 0, baseOffset: 1 });
});

test('a fetch waits for data, and is answered when it arrives', async () => {
  await client.createTopic('t');
  const waiting = client.fetch('t', 0, 0, { maxWaitMs: 60_000, minBytes: 1 });
  const other = await WireClient.connect(port);
  await other.produce('t', 0, textBatch(['news']));
  expect((await waiting).records.length).toBeGreaterThan(0);
  other.close();
});

test('a fetch without new data is answered after max_wait', async () => {
  await client.createTopic('t');
  expect((await client.fetch('t', 0, 0, { maxWaitMs: 20, minBytes: 1 })).records).toHaveLength(0);
  expect(await client.fetch('t', 0, 1, { maxWaitMs: 60_000, minBytes: 1 })).toMatchObject({ errorCode: 1 });
  expect(await client.fetch('t', 7, 0, { maxWaitMs: 60_000, minBytes: 1 })).toMatchObject({ errorCode: 3 });
});

test('read_committed stops at the last stable offset and hides aborted records', async () => {
  await client.createTopic('t');
  const producers = await Promise.all(['x', 'y'].map((id) => client.initProducer(id)));
  for (const [i, producer] of producers.entries()) {
    const id = ['x', 'y'][i] ?? '';
    const { producerId, epoch: producerEpoch } = producer;
    await client.addPartitions(id, producer, 't', [0]);
    const batch = textBatch([`from ${id}`], {
      producerId,
      producerEpoch,
      baseSequence: 0,
      attributes: transactionalFlag,
    });
    expect(await client.produce('t', 0, batch, { transactionalId: id })).toMatchObject({ errorCode: 0 });
  }
  await client.produce('t', 0, textBatch(['plain']));
  const [x, y] = producers;
  if (x === undefined || y === undefined) throw new Error('two producers');
  expect(await client.readAll('t', 0, true)).toEqual([]);
  expect(await client.endTransaction('y', y, false)).toBe(0);
  expect(await client.fetch('t', 0, 0, { committed: true })).toMatchObject({
    lastStableOffset: 0,
    highWatermark: 4,
  });
  expect(await client.endTransaction('x', x, false)).toBe(0);
  const fetched = await client.fetch('t', 0, 0, { committed: true });
  expect(fetched.aborted.map(({ firstOffset }) => firstOffset)).toEqual([0, 1]);
  expect((await client.readAll('t', 0, true)).map(({ value }) => value)).toEqual(['plain']);
  const unannounced = textBatch(['z'], {
    producerId: x.producerId,
    producerEpoch: 0,
    baseSequence: 1,
    attributes: transactionalFlag,
  });
  expect(await client.produce('t', 0, unannounced, { transactionalId: 'x' })).toMatchObject({
    errorCode: 48,
  });
});

test('ApiVersions lists the supported APIs; a newer version of it gets error 35 and the list', async () => {
  const reader = await client.call(18, 0, () => undefined);
  expect(reader.int16()).toBe(0);
  const listed = reader.array(() => ({
    key: reader.int16(),
    minVersion: reader.int16(),
    maxVersion: reader.int16(),
  }));
  expect(listed).toEqual(apis.map(({ key, minVersion, maxVersion }) => ({ key, minVersion, maxVersion })));
  const newer = await client.call(18, 4, () => undefined);
  expect(newer.int16()).toBe(35);
  expect(newer.array(() => [newer.int16(), newer.int16(), newer.int16()])).toEqual([[18, 0, 3]]);
});

test.each([
  ['an API key that is not served', frame(Buffer.from([0, 99, 0, 0, 0, 0, 0, 1, 255, 255]))],
  ['a version that is not served', frame(Buffer.from([0, 1, 0, 99, 0, 0, 0, 1, 255, 255]))],
  ['an empty frame', Buffer.alloc(4)],
  ['a frame of one byte', frame(Buffer.from([0]))],
  [
    'more array elements than any request needs',
    frame(
      Buffer.concat([Buffer.from([0, 3, 0, 5, 0, 0, 0, 1, 255, 255, 0, 6, 0, 0]), Buffer.alloc(400_000)]),
    ),
  ],
  ['a frame over the limit', Buffer.from([0x7f, 0xff, 0xff, 0xff])],
  ['a negative frame length', Buffer.from([0xff, 0xff, 0xff, 0xff])],
  ['a request that ends too early', frame(Buffer.from([0, 3, 0, 5, 0, 0, 0, 1, 255, 255, 0, 0, 0, 5]))],
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
])('%s closes the connection, and only that one', async (_what, bytes) => {
  const bad = await WireClient.connect(port);
  bad.sendRaw(bytes);
  await bad.closed();
  expect(await client.createTopic('still-works')).toBe(0);
});

test('frames garbled at random never stop the broker', async () => {
  await client.createTopic('t');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...apis),
      fc.uint8Array({ maxLength: 100 }),
      async ({ key, maxVersion }, bytes) => {
        const bad = await WireClient.connect(port);
        const header = Buffer.from([0, key, 0, maxVersion, 0, 0, 0, 1, 255, 255]);
        bad.sendRaw(frame(Buffer.concat([header, bytes])));
        bad.end();
        await bad.closed();
      },
    ),
    { numRuns: 200 },
  );
  expect(await client.produce('t', 0, textBatch(['fine']))).toMatchObject({ errorCode: 0 });
});

test('an interceptor observes, delays, refuses, and drops before or after the effect', async () => {
  await client.createTopic('t');
  const seen: string[] = [];
  const verdicts = [{ errorCode: 6 }, undefined, 'drop-answer', 'drop'] as const;
  const remove = broker.intercept(0, async ({ clientId }) => {
    seen.push(clientId);
    await new Promise(setImmediate);
    return verdicts[seen.length - 1];
  });
  expect(await client.produce('t', 0, textBatch(['refused']))).toMatchObject({ errorCode: 6 });
  expect(await client.produce('t', 0, textBatch(['kept']))).toMatchObject({ errorCode: 0 });
  await expect(client.produce('t', 0, textBatch(['kept, though unanswered']))).rejects.toThrow('closed');
  client = await WireClient.connect(port);
  await expect(client.produce('t', 0, textBatch(['dropped']))).rejects.toThrow('closed');
  client = await WireClient.connect(port);
  remove();
  await client.produce('t', 0, textBatch(['after']));
  expect((await client.readAll('t', 0, false)).map(({ value }) => value)).toEqual([
    'kept',
    'kept, though unanswered',
    'after',
  ]);
  expect(seen).toEqual(['wire-client', 'wire-client', 'wire-client', 'wire-client']);
});

test('the local log appends and reads without a client, across restarts, on a compacted topic', async () => {
  const read = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key, value } of broker.localLog('schemas').read())
      found.push(`${key?.toString()}=${value?.toString()}`);
    return found;
  };
  expect(await read()).toEqual([]);
  await broker.localLog('schemas').append([
    { key: Buffer.from('a'), value: Buffer.from('1') },
    { key: Buffer.from('b'), value: null },
  ]);
  await broker.localLog('schemas').append([{ key: Buffer.from('c'), value: Buffer.from('3') }]);
  await restart();
  expect(await read()).toEqual(['a=1', 'b=undefined', 'c=3']);
  expect(await describedConfig('schemas', 'cleanup.policy')).toBe('compact');
});

test('a deleted topic is gone, and a new one of its name is empty', async () => {
  await client.createTopic('t');
  await client.produce('t', 0, textBatch(['old']));
  expect(await client.deleteTopic('t')).toBe(0);
  expect(await client.fetch('t', 0, 0)).toMatchObject({ errorCode: 3 });
  await client.createTopic('t');
  expect(await client.readAll('t', 0, false)).toEqual([]);
});

test('DeleteRecords moves the log start, at once and over a restart', async () => {
  await client.createTopic('t');
  for (const value of ['a', 'b', 'c']) await client.produce('t', 0, textBatch([value]));
  const deleteBefore = async (offset: number): Promise<unknown> => {
    const reader = await client.call(21, 0, (writer) => {
      writer.array(['t'], (name) => {
        writer.string(name);
        writer.array([0], (partition) => {
          writer.int32(partition);
          writer.int64(offset);
        });
      });
      writer.int32(1000);
    });
    reader.int32();
    const [partitions] = reader.array(() => {
      reader.string();
      return reader.array(() => [reader.int32(), reader.int64(), reader.int16()]);
    });
    return partitions?.[0];
  };
  expect(await deleteBefore(2)).toEqual([0, 2, 0]);
  expect(await deleteBefore(4)).toEqual([0, -1, 1]);
  expect(await client.fetch('t', 0, 1)).toMatchObject({ errorCode: 1 });
  await restart();
  expect(await client.fetch('t', 0, 1)).toMatchObject({ errorCode: 1 });
  expect((await client.fetch('t', 0, 2)).records.length).toBeGreaterThan(0);
  expect(await deleteBefore(-1)).toEqual([0, 3, 0]);
  expect(await client.produce('t', 0, textBatch(['d']))).toEqual({ errorCode: 0, baseOffset: 3 });
});

test('a port in use is one clear error, in this thread and from the worker', async () => {
  const options = { dataDir: join(dataDir, 'other'), port };
  const expected = {
    code: 'PORT_IN_USE',
    message: expect.stringContaining(`Port ${port} on 127.0.0.1 is in use`),
  };
  await expect(new KafkaBroker(options).start()).rejects.toMatchObject(expected);
  await expect(startKafka(options)).rejects.toMatchObject(expected);
});

test('a data folder that cannot be used is one clear error', async () => {
  const file = join(dataDir, 'a-file');
  await writeFile(file, '');
  const expected = { code: 'DATA_DIR_UNUSABLE', message: expect.stringContaining(file) };
  await expect(startKafka({ dataDir: file, port: 0 })).rejects.toMatchObject(expected);
});

test('a client that does not read its answers delays no other', async () => {
  await client.createTopic('t');
  await client.produce('t', 0, textBatch(Array.from({ length: 900 }, () => 'x'.repeat(1000))));
  const slow = await WireClient.connect(port);
  slow.pause();
  const calls = Array.from({ length: 200 }, () => slow.fetch('t', 0, 0).catch(() => undefined));
  expect((await client.readAll('t', 0, false)).length).toBe(900);
  slow.resume();
  expect((await Promise.all(calls)).every((fetched) => (fetched?.records.length ?? 0) > 900_000)).toBe(true);
  slow.close();
});

test('in a separate worker thread it serves, stops, and starts again on the same data', async () => {
  const options = { dataDir: join(dataDir, 'worker'), port: 0 };
  for (const expected of [[], ['kept']]) {
    const embedded = await startKafka(options);
    const other = await WireClient.connect(embedded.port);
    await other.createTopic('t');
    expect((await other.readAll('t', 0, false)).map(({ value }) => value)).toEqual(expected);
    await other.produce('t', 0, textBatch(['kept']));
    await embedded.stop();
    await other.closed();
  }
});

async function start(options: Partial<KafkaBrokerOptions> = {}): Promise<void> {
  broker = new KafkaBroker({ dataDir, port: 0, ...options });
  ({ port } = await broker.start());
  client = await WireClient.connect(port);
}

async function restart(): Promise<void> {
  client.close();
  await broker.stop();
  await start();
}

async function describedConfig(topic: string, config: string): Promise<string | null | undefined> {
  const { configs } = await describeConfigs(2, topic);
  return configs.find(([name]) => name === config)?.[1];
}

async function describeConfigs(
  type: number,
  resource: string,
): Promise<{ errorCode: number; configs: [string, string | null][] }> {
  const reader = await client.call(32, 1, (writer) => {
    writer.array([resource], () => {
      writer.int8(type);
      writer.string(resource);
      writer.nullableArray(null, () => undefined);
    });
    writer.boolean(false);
  });
  reader.int32();
  const [described] = reader.array(() => {
    const errorCode = reader.int16();
    reader.nullableString();
    reader.int8();
    reader.string();
    const configs = reader.array((): [string, string | null] => {
      const config: [string, string | null] = [reader.string(), reader.nullableString()];
      reader.boolean();
      reader.int8();
      reader.boolean();
      reader.array(() => undefined);
      return config;
    });
    return { errorCode, configs };
  });
  return described ?? { errorCode: -1, configs: [] };
}

function frame(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
