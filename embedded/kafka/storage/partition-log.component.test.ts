import { appendFile, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { transactionalFlag } from '../protocol/record-batch.js';
import { LogFixture, values } from '../testing/log-fixture.js';
import { textBatch } from '../testing/wire-client.js';
import { findByTimestamp } from './timestamp-search.js';

let logs: LogFixture;

beforeEach(async () => {
  logs = await LogFixture.start();
});

afterEach(() => logs.end());

test('appends of one tick share a write and are readable when durable', async () => {
  const log = await logs.open();
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
    const first = await logs.open(config, cacheBytes);
    for (let i = 0; i < 200; i++) await first.append(textBatch([`v${i}`])).durable;
    const expected = Array.from({ length: 200 }, (_, i) => `v${i}`);
    expect(first.segments.length).toBeGreaterThan(5);
    expect(await values(first, 0)).toEqual(expected);
    await logs.close(first);
    const second = await logs.open(config, cacheBytes);
    expect(second.highWatermark).toBe(200);
    expect(await values(second, 0)).toEqual(expected);
    expect(await values(second, 150)).toEqual(expected.slice(150));
  });
}

test('a torn or garbled tail is truncated, and the log continues after the last whole batch', async () => {
  const log = await logs.open();
  for (let i = 0; i < 10; i++) await log.append(textBatch([`v${i}`])).durable;
  const path = log.active.path;
  const { size } = log.active;
  await logs.close(log);
  await rm(join(logs.folder, 'checkpoint'));
  await truncate(path, size - 3);
  const torn = await logs.open();
  expect(torn.highWatermark).toBe(9);
  await torn.append(textBatch(['again'])).durable;
  await logs.close(torn);
  await appendFile(path, Buffer.alloc(500));
  await appendFile(path, 'garbage that is no batch at all, and longer than a header of sixty-one bytes');
  const garbled = await logs.open();
  expect((await values(garbled, 0)).at(-1)).toBe('again');
  expect(garbled.highWatermark).toBe(10);
  expect((await readFile(path)).length).toBe(garbled.active.size);
});

test('a broken checkpoint only causes a scan', async () => {
  const log = await logs.open();
  await log.append(textBatch(['kept'], { producerId: 5, producerEpoch: 0, baseSequence: 0 })).durable;
  await logs.close(log);
  await writeFile(join(logs.folder, 'checkpoint'), 'deadbeef\n{"segments":[');
  const again = await logs.open();
  expect(await values(again, 0)).toEqual(['kept']);
  const retry = again.append(textBatch(['kept'], { producerId: 5, producerEpoch: 0, baseSequence: 0 }));
  expect(retry).toMatchObject({ errorCode: 0, baseOffset: 0 });
  expect(again.highWatermark).toBe(1);
});

test('a retry that arrives before the first copy is durable waits for it', async () => {
  const log = await logs.open();
  const fields = { producerId: 5, producerEpoch: 0, baseSequence: 0 };
  const first = log.append(textBatch(['once'], fields));
  const retry = log.append(textBatch(['once'], fields));
  expect(retry.baseOffset).toBe(first.baseOffset);
  await retry.durable;
  expect(log.highWatermark).toBe(1);
});

test('producer states and aborted transactions survive a restart with and without the checkpoint', async () => {
  const log = await logs.open();
  const fields = { producerId: 5, producerEpoch: 0, attributes: transactionalFlag };
  await log.append(textBatch(['aborted'], { ...fields, baseSequence: 0 })).durable;
  await log.appendMarker(5, 0, false);
  await log.append(textBatch(['open'], { ...fields, baseSequence: 1 })).durable;
  const before = log.producers.snapshot();
  await logs.close(log);
  const withCheckpoint = await logs.open();
  expect(withCheckpoint.producers.snapshot()).toEqual(before);
  expect(withCheckpoint.lastStableOffset).toBe(2);
  await logs.close(withCheckpoint);
  await rm(join(logs.folder, 'checkpoint'));
  const scanned = await logs.open();
  expect(scanned.producers.snapshot()).toEqual(before);
  expect((await scanned.read(0, 3, 1000)).aborted).toEqual([
    { producerId: 5, firstOffset: 0, lastOffset: 1 },
  ]);
});

test('the first batch is served whole however small max_bytes is, and never an empty one', async () => {
  const log = await logs.open();
  await log.append(textBatch(['x'.repeat(5000)])).durable;
  await log.append(textBatch(['y'])).durable;
  const { batches } = await log.read(0, 2, 1);
  expect(Buffer.concat(batches).length).toBeGreaterThan(5000);
  expect(await log.read(2, 2, 1000)).toMatchObject({ errorCode: 0, batches: [] });
  expect(await log.read(3, 3, 1000)).toMatchObject({ errorCode: 1 });
});

test('bad batches are refused with the code of the protocol', async () => {
  const log = await logs.open({ 'max.message.bytes': '500' });
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

test('offsets by timestamp', async () => {
  const log = await logs.open({ 'segment.bytes': '1024' });
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
  'a disk that refuses writes (%s): a retriable failure, nothing half-written, and it continues when the disk does',
  async (code, afterWriting) => {
    const log = await logs.open();
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
    await logs.close(log);
    expect(await values(await logs.open(), 0)).toEqual(['before', 'lost']);
  },
);

test('a batch that was written but not synced is truncated, and never served as durable', async () => {
  const log = await logs.open();
  await log.append(textBatch(['before'])).durable;
  const { active } = log;
  const { size } = active;
  const append = active.append.bind(active);
  active.append = async (batches) => {
    await append(batches);
    throw new Error('cannot sync');
  };
  await expect(log.append(textBatch(['not on the disk'])).durable).rejects.toThrow('cannot sync');
  await logs.close(log);
  expect((await readFile(active.path)).length).toBe(size);
});

test.each([
  ['corrupt gzip', 1],
  ['corrupt snappy', 2],
  ['corrupt LZ4', 3],
  ['corrupt zstd', 4],
  ['a codec that does not exist', 5],
])('%s is refused: consumers would never get past it', async (_what, attributes) => {
  const log = await logs.open();
  expect(log.append(textBatch(['x'], { attributes })).errorCode).toBe(87);
});
