import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildBatch, readHeader } from '../../embedded/kafka/protocol/record-batch.js';
import { encodeRecords } from '../../embedded/kafka/protocol/records.js';
import { WireClient } from '../../embedded/kafka/testing/wire-client.js';
import { packageRoot } from '../../platform/paths.js';
import { startSystem, type TestSystem } from '../system/start.js';

const invalidRecord = 87;
const topic = 'credit-default.events';

let system: TestSystem;
let client: WireClient;

beforeAll(async () => {
  system = await startSystem();
  client = await WireClient.connect(Number(system.endpoints.kafka[0]?.split(':')[1]));
});

afterAll(async () => {
  client?.close();
  await system.stop();
});

/** A batch of records with a null key and an empty value, each with an inner offset of one byte. */
function batchOf(innerOffsets: readonly number[], count = innerOffsets.length, codec = 0): Buffer {
  const content = Buffer.concat(innerOffsets.map((offset) => Buffer.from([12, 0, 0, offset, 1, 1, 0])));
  const header = readHeader(encodeRecords([{ key: null, value: null }], 1_000));
  const fields = { ...header, attributes: codec, count, lastOffsetDelta: count - 1 };
  return buildBatch(fields, codec === 1 ? gzipSync(content) : content);
}

/** Checks that new events on each partition are all scored. */
async function expectAllScored(name: string): Promise<void> {
  const event = JSON.parse(
    await readFile(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
  ) as object;
  const events = Array.from({ length: 30 }, (_, index) => ({ ...event, event_id: `${name}-${index}` }));
  expect((await system.post('/v1/pipelines/credit-default/events', events)).status).toBe(202);
  await expect
    .poll(async () => {
      const [row] = await system.sql<{ rows: string }>(
        `SELECT count() AS rows FROM millrace.predictions WHERE event_id LIKE '${name}-%'`,
      );
      return Number(row?.rows);
    })
    .toBe(30);
}

describe('a batch that contradicts its header', () => {
  it.each<[string, Buffer]>([
    ['with inner offsets far ahead', batchOf([126])],
    ['with inner offsets before its beginning', batchOf([125])],
    ['with inner offsets that are all the same', batchOf([0, 0, 0])],
    ['with more records than it counts', batchOf([0, 2, 4], 2)],
    ['with millions of records that it does not have', batchOf([0], 9_000_000)],
  ])('%s is refused, and no other event is skipped', async (what, batch) => {
    for (const partition of [0, 1, 2]) {
      expect(await client.produce(topic, partition, batch)).toMatchObject({ errorCode: invalidRecord });
    }
    await expectAllScored(what.replaceAll(' ', '-'));
  });
});

describe('millions of records in a few bytes', () => {
  it.each([
    ['identical ones', 9_000_000, () => 0],
    ['empty ones with their own offsets', 700_000, (index: number) => index],
  ])('%s are refused, and the process answers meanwhile', async (_what, count, offsetOf) => {
    const content = Buffer.alloc(count * 9);
    let at = 0;
    for (let index = 0; index < count; index++) {
      // The inner offset as a zigzag varint of three bytes, even if fewer suffice.
      const offset = offsetOf(index) * 2;
      content.set([16, 0, 0, (offset & 127) | 128, ((offset >> 7) & 127) | 128, offset >> 14, 1, 1, 0], at);
      at += 9;
    }
    const header = readHeader(encodeRecords([{ key: null, value: null }], 1_000));
    const batch = buildBatch(
      { ...header, attributes: 1, count, lastOffsetDelta: count - 1 },
      gzipSync(content),
    );
    expect(batch.length).toBeLessThan(1024 * 1024);
    const before = process.memoryUsage.rss();
    const refused = Promise.all([0, 1, 2].map((partition) => client.produce(topic, partition, batch)));
    expect((await system.get('/health/live')).status).toBe(200);
    for (const { errorCode } of await refused) expect(errorCode).toBe(invalidRecord);
    expect(process.memoryUsage.rss() - before).toBeLessThan(500e6);
    await expectAllScored(`bomb-${count}`);
  });
});
