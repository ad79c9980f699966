import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KafkaBroker } from '../embedded/kafka/broker.js';
import { MillraceError } from '../platform/errors.js';
import { silentLogger } from '../platform/logger.js';
import { createStreams, type Streams } from './streams.js';

const offsetFetch = 9;

let folder: string;
let broker: KafkaBroker;
let streams: Streams;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-log-admin-'));
  broker = new KafkaBroker({ dataDir: folder, port: 0 });
  const { port } = await broker.start();
  streams = createStreams({ brokers: [`127.0.0.1:${port}`], clientId: 'test', logger: silentLogger });
  await streams.createTopics([{ name: 't', partitions: 2 }]);
});

afterEach(async () => {
  await streams.close();
  await broker.stop();
  await rm(folder, { recursive: true, force: true });
});

test.each([
  ['loads the offsets of a group', 14],
  ['is not known yet', 15],
  ['has given the group to another', 16],
])('waits while a coordinator %s', async (_, errorCode) => {
  let asked = 0;
  broker.intercept(offsetFetch, () => (++asked < 3 ? { errorCode } : undefined));
  expect(await streams.lag('g', ['t'])).toHaveLength(2);
  expect(asked).toBe(3);
});

test('gives up when it is closed', async () => {
  let asked = 0;
  broker.intercept(offsetFetch, () => (asked++, { errorCode: 14 }));
  const committed = streams.committed('g', 't').catch((error: unknown) => error);
  await expect.poll(() => asked).toBe(1);
  await streams.close();
  expect(await committed).toBeInstanceOf(MillraceError);
  expect(asked).toBe(1);
});

test('reports another refusal at once', async () => {
  let asked = 0;
  broker.intercept(offsetFetch, () => (asked++, { errorCode: 30 }));
  await expect(streams.committed('g', 't')).rejects.toMatchObject({
    message: expect.stringContaining('Reading the offsets of group g') as string,
  });
  expect(asked).toBe(1);
});
