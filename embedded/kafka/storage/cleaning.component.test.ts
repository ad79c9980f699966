import { readdir } from 'node:fs/promises';
import snappy from 'snappyjs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildBatch, readHeader, transactionalFlag } from '../protocol/record-batch.js';
import { decodeRecords, encodeRecords } from '../protocol/records.js';
import { keyed, LogFixture, values } from '../testing/log-fixture.js';
import { textBatch } from '../testing/wire-client.js';
import { compactLog } from './compaction.js';
import type { PartitionLog } from './partition-log.js';
import { applyRetention } from './retention.js';
import { logConfig } from './topic-config.js';

let logs: LogFixture;

beforeEach(async () => {
  logs = await LogFixture.start();
});

afterEach(() => logs.end());

const moveStart = (log: PartitionLog) => (offset: number) => {
  log.logStart = offset;
  return Promise.resolve();
};

test('retention drops whole old segments, by time and by size, and moves the log start', async () => {
  const log = await logs.open({ 'segment.bytes': '1024', 'retention.ms': '60000' });
  for (let i = 0; i < 100; i++)
    await log.append(
      textBatch([`v${i}`], { baseTimestamp: logs.clock.now(), maxTimestamp: logs.clock.now() }),
    ).durable;
  await applyRetention(log, logs.clock.now(), moveStart(log));
  expect(log.logStart).toBe(0);
  log.config = logConfig({ 'segment.bytes': '1024', 'retention.bytes': '3000' });
  await applyRetention(log, logs.clock.now(), moveStart(log));
  expect(log.logStart).toBeGreaterThan(50);
  expect((await values(log, log.logStart)).at(-1)).toBe('v99');
  expect(await log.read(0, 100, 100)).toMatchObject({ errorCode: 1 });
  log.config = logConfig({ 'retention.ms': '60000' });
  await applyRetention(log, logs.clock.now() + 60_001, moveStart(log));
  expect(log.logStart).toBe(100);
  expect((await readdir(logs.folder)).filter((name) => name.endsWith('.log'))).toEqual([
    '00000000000000000100.log',
  ]);
  await logs.close(log);
  expect((await logs.open()).highWatermark).toBe(100);
});

test('compaction keeps the newest of each key with its offset, and a reader in the middle continues', async () => {
  const log = await logs.open(
    { 'cleanup.policy': 'compact', 'segment.bytes': '2000', 'delete.retention.ms': '1000' },
    0,
  );
  for (let i = 0; i < 300; i++) await logs.appendKeyed(log, `k${i % 10}`, i === 155 ? null : `v${i}`);
  await log.roll();
  const before = await keyed(log, 0);
  const segmentsBefore = log.segments.length;
  const [middle] = log.segments.slice(3);
  const reading = middle?.read(middle.baseOffset, 300, 100_000);
  await compactLog(log, logs.clock.now());
  expect((await reading)?.length).toBeGreaterThan(0);
  expect(log.segments.length).toBeLessThan(segmentsBefore);
  expect(await keyed(log, 0)).toEqual(before.slice(-10));
  expect(await keyed(log, 123)).toEqual(before.slice(-10));
  await logs.close(log);
  const again = await logs.open({ 'cleanup.policy': 'compact' }, 0);
  expect(again.highWatermark).toBe(300);
  expect(await keyed(again, 0)).toEqual(before.slice(-10));
});

test('compaction removes aborted records and, after their retention, tombstones', async () => {
  const log = await logs.open({ 'cleanup.policy': 'compact', 'delete.retention.ms': '1000' }, 0);
  await logs.appendKeyed(log, 'a', 'kept');
  await logs.appendKeyed(log, 'b', 'old');
  await logs.appendKeyed(log, 'b', null);
  const aborted = encodeRecords([{ key: Buffer.from('a'), value: Buffer.from('aborted') }], logs.clock.now());
  const header = readHeader(aborted);
  const fields = { producerId: 9, producerEpoch: 0, baseSequence: 0, attributes: transactionalFlag };
  await log.append(buildBatch({ ...header, lastOffsetDelta: 0, ...fields }, aborted.subarray(61))).durable;
  await log.appendMarker(9, 0, false);
  await log.roll();
  await compactLog(log, logs.clock.now());
  expect((await keyed(log, 0)).filter(({ key }) => key !== 'marker')).toEqual([
    { offset: 0, key: 'a', value: 'kept' },
    { offset: 2, key: 'b', value: null },
  ]);
  await logs.appendKeyed(log, 'c', 'new');
  await log.roll();
  await compactLog(log, logs.clock.now() + 1001);
  expect((await keyed(log, 0)).map(({ key }) => key)).toEqual(['a', 'marker', 'c']);
});

test('a compacted log refuses records without a key', async () => {
  const log = await logs.open({ 'cleanup.policy': 'compact' });
  expect(log.append(textBatch(['no key'])).errorCode).toBe(87);
});

test('records deleted by request stay deleted, and their segments are removed', async () => {
  const log = await logs.open({ 'segment.bytes': '1024' });
  for (let i = 0; i < 100; i++) await log.append(textBatch([`v${i}`])).durable;
  log.logStart = 57;
  expect(await log.read(56, 100, 1000)).toMatchObject({ errorCode: 1 });
  expect((await values(log, 57))[0]).toBe('v57');
  const { length } = log.segments;
  await applyRetention(log, logs.clock.now(), moveStart(log));
  expect(log.segments.length).toBeLessThan(length);
  expect(log.logStart).toBe(57);
  expect(log.segments[0]?.baseOffset).toBeLessThanOrEqual(57);
  expect((await values(log, 57))[0]).toBe('v57');
});

test('readers in the middle lose nothing during retention and compaction', async () => {
  const log = await logs.open({ 'cleanup.policy': 'compact', 'segment.bytes': '2000' }, 0);
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
    await logs.appendKeyed(log, `k${i % 7}`, `v${i}`);
    if (i % 50 === 49) await compactLog(log, logs.clock.now());
  }
  await readers;
  expect(shown).toEqual(newest);
});

test('compaction reads and keeps compressed records', async () => {
  const log = await logs.open({ 'cleanup.policy': 'compact' }, 0);
  const plain = encodeRecords(
    ['a', 'b', 'a'].map((key, i) => ({ key: Buffer.from(key), value: Buffer.from(`v${i}`) })),
    logs.clock.now(),
  );
  const header = { ...readHeader(plain), lastOffsetDelta: 2, attributes: 2 };
  await log.append(buildBatch(header, snappy.compress(plain.subarray(61)))).durable;
  await log.roll();
  await compactLog(log, logs.clock.now());
  expect(await keyed(log, 0)).toEqual([
    { offset: 1, key: 'b', value: 'v1' },
    { offset: 2, key: 'a', value: 'v2' },
  ]);
});
