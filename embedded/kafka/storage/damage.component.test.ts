import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LogFixture, values } from '../testing/log-fixture.js';
import { textBatch } from '../testing/wire-client.js';
import { compactLog } from './compaction.js';
import { findDamaged } from './damage.js';
import type { PartitionLog } from './partition-log.js';
import { applyRetention } from './retention.js';

const count = 60;
const configs = { 'segment.bytes': '1024' };
const known = { isNew: false };
/** Nothing is served from memory. */
const noCache = 0;

let logs: LogFixture;

beforeEach(async () => {
  logs = await LogFixture.start();
});

afterEach(() => logs.end());

const all = Array.from({ length: count }, (_, i) => `v${i}`);

/** Makes a log of sixty batches with a record each, closed. Returns the paths of its segments. */
async function written(config: Record<string, string> = configs): Promise<string[]> {
  const log = await logs.open(config, noCache);
  for (const value of all)
    await log.append(
      textBatch([value], { producerId: 7, producerEpoch: 0, baseSequence: Number(value.slice(1)) }),
    ).durable;
  const paths = log.segments.map(({ path }) => path);
  await logs.close(log);
  return paths;
}

async function change(path: string, edit: (bytes: Buffer) => void): Promise<void> {
  const bytes = await readFile(path);
  edit(bytes);
  await writeFile(path, bytes);
}

const flip = (at: number) => (bytes: Buffer) => {
  bytes[at] = (bytes[at] ?? 0) ^ 0x41;
};

/** Returns the position of the batch at an index. */
function place(bytes: Buffer, index: number): number {
  let at = 0;
  for (let i = 0; i < index; i++) at += bytes.readInt32BE(at + 8) + 12;
  return at;
}

async function opened(config: Record<string, string> = configs, isMore = known): Promise<PartitionLog> {
  return await logs.open(config, noCache, isMore);
}

/**
 * Asserts that readers, from any offset, get all intact records and are never stuck, and that new records
 * come after all earlier ones.
 */
async function expectServed(log: PartitionLog, expected: string[]): Promise<void> {
  expect(await values(log, log.logStart)).toEqual(expected);
  expect(log.highWatermark).toBe(count);
  const next = log.append(textBatch(['next'], { producerId: 7, producerEpoch: 0, baseSequence: count }));
  expect(next).toMatchObject({ errorCode: 0, baseOffset: count });
  await next.durable;
  expect(await values(log, log.logStart)).toEqual([...expected, 'next']);
}

describe.each([true, false])('with a checkpoint: %s', (hasCheckpoint) => {
  const spoil = async (path: string, edit: (bytes: Buffer) => void): Promise<PartitionLog> => {
    if (!hasCheckpoint) await rm(join(logs.folder, 'checkpoint'));
    await change(path, edit);
    return await opened(oneSegment);
  };
  const oneSegment = {};
  const without = (...indices: number[]) => all.filter((_, index) => !indices.includes(index));

  test.each<[string, (bytes: Buffer) => void, string[]]>([
    ['a record', (bytes) => flip(place(bytes, 30) + 70)(bytes), without(30)],
    ['the first byte', flip(0), without(0)],
    ['a CRC', (bytes) => flip(place(bytes, 30) + 17)(bytes), without(30)],
    ['a format', (bytes) => flip(place(bytes, 30) + 16)(bytes), all],
    ['an offset, upwards', (bytes) => bytes.writeInt32BE(500, place(bytes, 30) + 4), without(30)],
    ['an offset, far upwards', (bytes) => bytes.writeInt32BE(5, place(bytes, 30)), without(30)],
    ['an offset, downwards', (bytes) => bytes.writeInt32BE(3, place(bytes, 30) + 4), without(30)],
    ['a length: -12', (bytes) => bytes.writeInt32BE(-12, place(bytes, 30) + 8), all],
    ['a length: huge', (bytes) => bytes.writeInt32BE(0x7fff_ffff, place(bytes, 30) + 8), all],
    ['a length: short', (bytes) => bytes.writeInt32BE(52, place(bytes, 30) + 8), all],
    [
      'a block of zeros',
      (bytes) => bytes.fill(0, place(bytes, 30) + 5, place(bytes, 32) + 20),
      without(30, 31, 32),
    ],
  ])('damage in %s loses only that batch', async (_where, edit, expected) => {
    const [path = ''] = await written(oneSegment);
    let before: Buffer | undefined;
    const log = await spoil(path, (bytes) => {
      edit(bytes);
      before = Buffer.from(bytes);
    });
    await expectServed(log, expected);
    const damaged = await findDamaged(logs.folder);
    expect(damaged).toEqual(['00000000000000000000.log.damaged']);
    expect(await readFile(join(logs.folder, damaged[0] ?? ''))).toEqual(before);
    await logs.close(log);
    const again = await opened(oneSegment);
    expect(await values(again, 0)).toEqual([...expected, 'next']);
    expect(await findDamaged(logs.folder)).toEqual(damaged);
  });

  test('a truncated closed segment is damage, however it ends', async () => {
    const paths = await written();
    if (!hasCheckpoint) await rm(join(logs.folder, 'checkpoint'));
    const bytes = await readFile(paths[1] ?? '');
    await truncate(paths[1] ?? '', place(bytes, 3));
    const log = await opened();
    await expectServed(log, without(...lostOf(paths, 1).slice(3)));
    expect(await findDamaged(logs.folder)).toHaveLength(1);
  });

  test.each([0, 1, 3])('a missing segment is noticed: number %i', async (index) => {
    const paths = await written();
    if (!hasCheckpoint) await rm(join(logs.folder, 'checkpoint'));
    await rm(paths[index] ?? '');
    const log = await opened();
    await expectServed(log, without(...lostOf(paths, index)));
    expect(await findDamaged(logs.folder)).toEqual([`${paths[index]?.split('/').at(-1)}.damaged`]);
    await logs.close(log);
    await opened();
    expect(await findDamaged(logs.folder)).toHaveLength(1);
  });
});

/** Returns the offsets of a segment, by the names of the files. */
function lostOf(paths: readonly string[], index: number): number[] {
  const base = (path: string | undefined): number =>
    path === undefined ? count : Number.parseInt(path.split('/').at(-1) ?? '', 10);
  const from = base(paths[index]);
  return Array.from({ length: base(paths[index + 1]) - from }, (_, i) => from + i);
}

test('a log shorter than its checkpoint continues after its earlier end', async () => {
  const [path = ''] = await written({});
  await truncate(path, place(await readFile(path), 20) + 5);
  const log = await opened({});
  await expectServed(log, all.slice(0, 20));
  expect(await findDamaged(logs.folder)).toHaveLength(1);
});

test('a log without any files continues after its earlier end', async () => {
  for (const path of await written()) await rm(path);
  await expectServed(await opened(), []);
  expect(await findDamaged(logs.folder)).not.toEqual([]);
});

test('without a checkpoint, other state tells the earlier end', async () => {
  const [path = ''] = await written({});
  await rm(join(logs.folder, 'checkpoint'));
  await truncate(path, place(await readFile(path), 20) + 5);
  const log = await logs.open({}, noCache, { isNew: false, committed: 60 });
  expect(log.highWatermark).toBe(60);
  expect(await findDamaged(logs.folder)).toHaveLength(1);
});

test('a byte that flips under a running broker loses only its batch, and readers continue', async () => {
  const [path = ''] = await written({});
  const log = await opened({});
  await change(path, (bytes) => flip(place(bytes, 10) + 70)(bytes));
  await change(path, (bytes) => bytes.writeInt32BE(-12, place(bytes, 40) + 8));
  await expectServed(
    log,
    all.filter((_, index) => index !== 10),
  );
  expect(await findDamaged(logs.folder)).toHaveLength(1);
});

test('compaction does not treat a damaged record as intact', async () => {
  const config = { 'cleanup.policy': 'compact', 'segment.bytes': '1024' };
  const log = await logs.open(config, noCache);
  for (let i = 0; i < 40; i++) await logs.appendKeyed(log, `k${i}`, `v${i}`);
  await log.roll();
  const [segment] = log.segments;
  await change(segment?.path ?? '', (bytes) => flip(place(bytes, 2) + 65)(bytes));
  await log.withRepair(() => compactLog(log, logs.clock.now()));
  expect(await values(log, 0)).toEqual(
    Array.from({ length: 40 }, (_, i) => `v${i}`).filter((_, i) => i !== 2),
  );
  expect(await findDamaged(logs.folder)).toHaveLength(1);
});

test('records removed by retention or compaction are not reported as missing', async () => {
  const config = { ...configs, 'retention.bytes': '3000', 'cleanup.policy': 'compact,delete' };
  const log = await logs.open(config, noCache);
  for (let i = 0; i < 200; i++) await logs.appendKeyed(log, `k${i % 3}`, `v${i}`);
  await log.withRepair(() => compactLog(log, logs.clock.now()));
  let start = 0;
  await applyRetention(log, logs.clock.now(), (offset) => {
    log.logStart = start = offset;
    return Promise.resolve();
  });
  await logs.close(log);
  const again = await logs.open(config, noCache, { isNew: false, start });
  await logs.close(again);
  await rm(join(logs.folder, 'checkpoint'), { force: true });
  const scanned = await logs.open(config, noCache, { isNew: false, start });
  expect(scanned.highWatermark).toBe(200);
  expect(await findDamaged(logs.folder)).toEqual([]);
});
