import { appendFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import snappy from 'snappyjs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '../../../platform/logger.js';
import { buildBatch, readHeader, transactionalFlag } from '../protocol/record-batch.js';
import { decodeRecords, encodeRecords } from '../protocol/records.js';
import { ManualClock } from '../testing/manual-clock.js';
import { textBatch } from '../testing/wire-client.js';
import { compactLog } from './compaction.js';
import { PartitionLog } from './partition-log.js';
import { applyRetention } from './retention.js';
import { TailCacheBudget } from './tail-cache.js';
import { findByTimestamp } from './timestamp-search.js';
import { logConfig } from './topic-config.js';
import type { ConfigValues } from './topic-config.js';

let folder: string;
let clock: ManualClock;
let opened: PartitionLog[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-log-'));
  clock = new ManualClock();
  opened = [];
});

afterEach(async () => {
  for (const log of opened) await log.close();
  await rm(folder, { recursive: true, force: true });
});

test('appends of one tick share a write and are readable when durable', async () => {
  const log = await open();
  const appended = Array.from({ length: 50 }, (_, i) => log.append(textBatch([`a${i}`, `b${i}`])));
  expect(appended.map(({ baseOffset }) => baseOffset)).toEqual(appended.map((_, i) => i * 2));
  expect(log.highWatermark).toBe(0);
  await appended[0]?.durable;
  expect(log.highWatermark).toBe(100);
  expect(await values(log, 31)).toEqual([
    'b15',
    ...Array.from({ length: 34 }, (_, i) => [`a${i + 16}`, `b${i + 16}`]).flat(),
  ]);
});

for (const cacheBytes of [0, 1024 * 1024]) {
  test(`everything is there after a restart, over many segments (cache ${cacheBytes})`, async () => {
    const config = { 'segment.bytes': '2000' };
    const first = await open(config, cacheBytes);
    for (let i = 0; i < 200; i++) await first.append(textBatch([`v${i}`])).durable;
    const expected = Array.from({ length: 200 }, (_, i) => `v${i}`);
    expect(first.segments.length).toBeGreaterThan(5);
    expect(await values(first, 0)).toEqual(expected);
    await close(first);
    const second = await open(config, cacheBytes);
    expect(second.highWatermark).toBe(200);
    expect(await values(second, 0)).toEqual(expected);
    expect(await values(second, 150)).toEqual(expected.slice(150));
  });
}

test('a torn or garbled tail is cut, and the log goes on behind the last whole batch', async () => {
  const log = await open();
  for (let i = 0; i < 10; i++) await log.append(textBatch([`v${i}`])).durable;
  const path = log.active.path;
  const { size } = log.active;
  await close(log);
  await rm(join(folder, 'checkpoint'));
  await truncate(path, size - 3);
  const torn = await open();
  expect(torn.highWatermark).toBe(9);
  await torn.append(textBatch(['again'])).durable;
  await close(torn);
  await appendFile(path, Buffer.alloc(500));
  await appendFile(path, 'garbage that is no batch at all, and longer than a header of sixty-one bytes');
  const garbled = await open();
  expect((await values(garbled, 0)).at(-1)).toBe('again');
  expect(garbled.highWatermark).toBe(10);
  expect((await readFile(path)).length).toBe(garbled.active.size);
});

test('a broken checkpoint only costs a scan', async () => {
  const log = await open();
  await log.append(textBatch(['kept'], { producerId: 5, producerEpoch: 0, baseSequence: 0 })).durable;
  await close(log);
  await writeFile(join(folder, 'checkpoint'), 'deadbeef\n{"segments":[');
  const again = await open();
  expect(await values(again, 0)).toEqual(['kept']);
  const retry = again.append(textBatch(['kept'], { producerId: 5, producerEpoch: 0, baseSequence: 0 }));
  expect(retry).toMatchObject({ errorCode: 0, baseOffset: 0 });
  expect(again.highWatermark).toBe(1);
});

test('a retry that arrives before the first copy is durable waits for it', async () => {
  const log = await open();
  const fields = { producerId: 5, producerEpoch: 0, baseSequence: 0 };
  const first = log.append(textBatch(['once'], fields));
  const retry = log.append(textBatch(['once'], fields));
  expect(retry.baseOffset).toBe(first.baseOffset);
  await retry.durable;
  expect(log.highWatermark).toBe(1);
});

test('producer states and aborted transactions survive a restart with and without the checkpoint', async () => {
  const log = await open();
  const fields = { producerId: 5, producerEpoch: 0, attributes: transactionalFlag };
  await log.append(textBatch(['aborted'], { ...fields, baseSequence: 0 })).durable;
  await log.appendMarker(5, 0, false);
  await log.append(textBatch(['open'], { ...fields, baseSequence: 1 })).durable;
  const before = log.producers.snapshot();
  await close(log);
  const withCheckpoint = await open();
  expect(withCheckpoint.producers.snapshot()).toEqual(before);
  expect(withCheckpoint.lastStableOffset).toBe(2);
  await close(withCheckpoint);
  await rm(join(folder, 'checkpoint'));
  const scanned = await open();
  expect(scanned.producers.snapshot()).toEqual(before);
  expect((await scanned.read(0, 3, 1000)).aborted).toEqual([
    { producerId: 5, firstOffset: 0, lastOffset: 1 },
  ]);
});

test('the first batch is served whole however small max_bytes is, and never an empty one', async () => {
  const log = await open();
  await log.append(textBatch(['x'.repeat(5000)])).durable;
  await log.append(textBatch(['y'])).durable;
  const { batches } = await log.read(0, 2, 1);
  expect(Buffer.concat(batches).length).toBeGreaterThan(5000);
  expect(await log.read(2, 2, 1000)).toMatchObject({ errorCode: 0, batches: [] });
  expect(await log.read(3, 3, 1000)).toMatchObject({ errorCode: 1 });
});

test('bad batches are refused with the code of the protocol', async () => {
  const log = await open({ 'max.message.bytes': '500' });
  const corrupt = textBatch(['x']);
  corrupt[65] = (corrupt[65] ?? 0) ^ 1;
  const old = textBatch(['x']);
  old[16] = 1;
  const refusals = {
    corrupt: log.append(corrupt),
    old: log.append(old),
    two: log.append(Buffer.concat([textBatch(['x']), textBatch(['y'])])),
    control: log.append(textBatch(['x'], { attributes: 0x20 })),
    miscounted: log.append(textBatch(['x'], { count: 2 })),
    large: log.append(textBatch(['x'.repeat(1000)])),
    short: log.append(Buffer.alloc(10)),
    noSequence: log.append(textBatch(['x'], { producerId: 3, producerEpoch: 0 })),
  };
  expect(
    Object.fromEntries(Object.entries(refusals).map(([name, { errorCode }]) => [name, errorCode])),
  ).toEqual({
    corrupt: 2,
    old: 43,
    two: 87,
    control: 87,
    miscounted: 87,
    large: 10,
    short: 2,
    noSequence: 87,
  });
  expect(log.highWatermark).toBe(0);
});

test('retention drops whole old segments, by time and by size, and moves the log start', async () => {
  const log = await open({ 'segment.bytes': '1024', 'retention.ms': '60000' });
  for (let i = 0; i < 100; i++)
    await log.append(textBatch([`v${i}`], { baseTimestamp: clock.now(), maxTimestamp: clock.now() })).durable;
  await applyRetention(log, clock.now());
  expect(log.logStart).toBe(0);
  log.config = logConfig({ 'segment.bytes': '1024', 'retention.bytes': '3000' });
  await applyRetention(log, clock.now());
  expect(log.logStart).toBeGreaterThan(50);
  expect((await values(log, log.logStart)).at(-1)).toBe('v99');
  expect(await log.read(0, 100, 100)).toMatchObject({ errorCode: 1 });
  log.config = logConfig({ 'retention.ms': '60000' });
  await applyRetention(log, clock.now() + 60_001);
  expect(log.logStart).toBe(100);
  expect((await readdir(folder)).filter((name) => name.endsWith('.log'))).toEqual([
    '00000000000000000100.log',
  ]);
  await close(log);
  expect((await open()).highWatermark).toBe(100);
});

test('compaction keeps the newest of each key with its offset, and a reader in the middle goes on', async () => {
  const log = await open(
    { 'cleanup.policy': 'compact', 'segment.bytes': '2000', 'delete.retention.ms': '1000' },
    0,
  );
  for (let i = 0; i < 300; i++) await appendKeyed(log, `k${i % 10}`, i === 155 ? null : `v${i}`);
  await log.roll();
  const before = await keyed(log, 0);
  const segmentsBefore = log.segments.length;
  const [middle] = log.segments.slice(3);
  const reading = middle?.read(middle.baseOffset, 300, 100_000);
  await compactLog(log, clock.now());
  expect((await reading)?.length).toBeGreaterThan(0);
  expect(log.segments.length).toBeLessThan(segmentsBefore);
  expect(await keyed(log, 0)).toEqual(before.slice(-10));
  expect(await keyed(log, 123)).toEqual(before.slice(-10));
  await close(log);
  const again = await open({ 'cleanup.policy': 'compact' }, 0);
  expect(again.highWatermark).toBe(300);
  expect(await keyed(again, 0)).toEqual(before.slice(-10));
});

test('compaction removes aborted records and, after their time, tombstones', async () => {
  const log = await open({ 'cleanup.policy': 'compact', 'delete.retention.ms': '1000' }, 0);
  await appendKeyed(log, 'a', 'kept');
  await appendKeyed(log, 'b', 'old');
  await appendKeyed(log, 'b', null);
  const aborted = encodeRecords([{ key: Buffer.from('a'), value: Buffer.from('aborted') }], clock.now());
  const header = readHeader(aborted);
  const fields = { producerId: 9, producerEpoch: 0, baseSequence: 0, attributes: transactionalFlag };
  await log.append(buildBatch({ ...header, lastOffsetDelta: 0, ...fields }, aborted.subarray(61))).durable;
  await log.appendMarker(9, 0, false);
  await log.roll();
  await compactLog(log, clock.now());
  expect((await keyed(log, 0)).filter(({ key }) => key !== 'marker')).toEqual([
    { offset: 0, key: 'a', value: 'kept' },
    { offset: 2, key: 'b', value: null },
  ]);
  await appendKeyed(log, 'c', 'new');
  await log.roll();
  await compactLog(log, clock.now() + 1001);
  expect((await keyed(log, 0)).map(({ key }) => key)).toEqual(['a', 'marker', 'c']);
});

test('a compacted log refuses records without a key', async () => {
  const log = await open({ 'cleanup.policy': 'compact' });
  expect(log.append(textBatch(['no key'])).errorCode).toBe(87);
});

test('offsets by timestamp', async () => {
  const log = await open({ 'segment.bytes': '1024' });
  for (let i = 0; i < 50; i++)
    await log.append(textBatch([`v${i}`], { baseTimestamp: 1000 + i * 10, maxTimestamp: 1000 + i * 10 }))
      .durable;
  expect(await findByTimestamp(log, 1234, 50)).toEqual({ offset: 24, timestamp: 1240 });
  expect(await findByTimestamp(log, 0, 50)).toEqual({ offset: 0, timestamp: 1000 });
  expect(await findByTimestamp(log, 1491, 50)).toBeUndefined();
  expect(await findByTimestamp(log, 1490, 49)).toBeUndefined();
});

test.each([
  ['ENOSPC', false],
  ['EROFS', false],
  ['EIO', true],
])(
  'a disk that refuses writes (%s): a retriable failure, nothing half-written, and it goes on when the disk does',
  async (code, afterWriting) => {
    const log = await open();
    await log.append(textBatch(['before'])).durable;
    const { active } = log;
    const append = active.append.bind(active);
    active.append = async (batches) => {
      if (afterWriting) await append(batches);
      throw Object.assign(new Error('the disk refuses'), { code });
    };
    const fields = { producerId: 4, producerEpoch: 0, baseSequence: 0 };
    const lost = log.append(textBatch(['lost'], fields));
    await expect(lost.durable).rejects.toThrow('the disk refuses');
    active.append = append;
    expect(await values(log, 0)).toEqual(['before']);
    let retried = log.append(textBatch(['lost'], fields));
    while (retried.errorCode === 56) {
      await new Promise(setImmediate);
      retried = log.append(textBatch(['lost'], fields));
    }
    await retried.durable;
    expect(await values(log, 0)).toEqual(['before', 'lost']);
    await close(log);
    expect(await values(await open(), 0)).toEqual(['before', 'lost']);
  },
);

test('a batch that was written but not synced is cut, not taken for durable', async () => {
  const log = await open();
  await log.append(textBatch(['before'])).durable;
  const { active } = log;
  const { size } = active;
  const append = active.append.bind(active);
  active.append = async (batches) => {
    await append(batches);
    throw new Error('cannot sync');
  };
  await expect(log.append(textBatch(['not on the disk'])).durable).rejects.toThrow('cannot sync');
  await log.close();
  opened = [];
  expect((await readFile(active.path)).length).toBe(size);
});

test('records deleted by request stay deleted, and their segments go', async () => {
  const log = await open({ 'segment.bytes': '1024' });
  for (let i = 0; i < 100; i++) await log.append(textBatch([`v${i}`])).durable;
  log.logStart = 57;
  expect(await log.read(56, 100, 1000)).toMatchObject({ errorCode: 1 });
  expect((await values(log, 57))[0]).toBe('v57');
  const { length } = log.segments;
  await applyRetention(log, clock.now());
  expect(log.segments.length).toBeLessThan(length);
  expect(log.logStart).toBe(57);
  expect(log.segments[0]?.baseOffset).toBeLessThanOrEqual(57);
  expect((await values(log, 57))[0]).toBe('v57');
});

test('readers in the middle lose nothing while retention and compaction run under them', async () => {
  const log = await open({ 'cleanup.policy': 'compact', 'segment.bytes': '2000' }, 0);
  const newest = new Map<string, string>();
  const shown = new Map<string, string>();
  const read = async (): Promise<void> => {
    for (let offset = 0; offset < 600;) {
      const { errorCode, batches } = await log.read(offset, log.highWatermark, 300);
      expect(errorCode).toBe(0);
      if (batches.length === 0) await new Promise(setImmediate);
      for (const bytes of batches) {
        for (let at = 0; at < bytes.length;) {
          const header = readHeader(bytes, at);
          for (const { key, value } of decodeRecords(bytes.subarray(at, at + header.size), header) ?? [])
            shown.set(key?.toString() ?? '', value?.toString() ?? '');
          expect(header.lastOffset).toBeGreaterThanOrEqual(offset);
          offset = header.lastOffset + 1;
          at += header.size;
        }
      }
    }
  };
  const readers = Promise.all([read(), read()]);
  for (let i = 0; i < 600; i++) {
    newest.set(`k${i % 7}`, `v${i}`);
    await appendKeyed(log, `k${i % 7}`, `v${i}`);
    if (i % 50 === 49) await compactLog(log, clock.now());
  }
  await readers;
  expect(shown).toEqual(newest);
});

test.each([
  ['corrupt gzip', 1],
  ['corrupt snappy', 2],
  ['corrupt LZ4', 3],
  ['corrupt zstd', 4],
  ['a codec that does not exist', 5],
])('%s is refused: consumers would never get past it', async (_what, attributes) => {
  const log = await open();
  expect(log.append(textBatch(['x'], { attributes })).errorCode).toBe(87);
});

test('compaction reads and keeps what was compressed', async () => {
  const log = await open({ 'cleanup.policy': 'compact' }, 0);
  const plain = encodeRecords(
    ['a', 'b', 'a'].map((key, i) => ({ key: Buffer.from(key), value: Buffer.from(`v${i}`) })),
    clock.now(),
  );
  const header = { ...readHeader(plain), lastOffsetDelta: 2, attributes: 2 };
  await log.append(buildBatch(header, snappy.compress(plain.subarray(61)))).durable;
  await log.roll();
  await compactLog(log, clock.now());
  expect(await keyed(log, 0)).toEqual([
    { offset: 1, key: 'b', value: 'v1' },
    { offset: 2, key: 'a', value: 'v2' },
  ]);
});

async function open(configs: ConfigValues = {}, cacheBytes = 1024 * 1024): Promise<PartitionLog> {
  const environment = { logger: silentLogger, clock, cacheBudget: new TailCacheBudget(cacheBytes) };
  const log = await PartitionLog.open(
    { topic: 't', partition: 0, folder },
    logConfig(configs),
    0,
    environment,
  );
  opened.push(log);
  return log;
}

async function close(log: PartitionLog): Promise<void> {
  opened = opened.filter((each) => each !== log);
  await log.close();
}

async function appendKeyed(log: PartitionLog, key: string, value: string | null): Promise<void> {
  const record = { key: Buffer.from(key), value: value === null ? null : Buffer.from(value) };
  await log.append(encodeRecords([record], clock.now())).durable;
}

async function values(log: PartitionLog, from: number): Promise<(string | null)[]> {
  return (await keyed(log, from)).map(({ value }) => value);
}

async function keyed(
  log: PartitionLog,
  from: number,
): Promise<{ offset: number; key: string; value: string | null }[]> {
  const found: { offset: number; key: string; value: string | null }[] = [];
  let offset = from;
  for (;;) {
    const { errorCode, batches } = await log.read(offset, log.highWatermark, 1500);
    expect(errorCode).toBe(0);
    if (batches.length === 0) return found;
    for (const bytes of batches) {
      for (let at = 0; at < bytes.length;) {
        const header = readHeader(bytes, at);
        expect(header.count).toBeGreaterThan(0);
        for (const record of decodeRecords(bytes.subarray(at, at + header.size), header) ?? []) {
          const key = (header.attributes & 0x20) === 0 ? (record.key?.toString() ?? '') : 'marker';
          if (record.offset >= from)
            found.push({ offset: record.offset, key, value: record.value?.toString() ?? null });
        }
        offset = header.lastOffset + 1;
        at += header.size;
      }
    }
  }
}
