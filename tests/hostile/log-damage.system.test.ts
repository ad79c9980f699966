import { copyFile, mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KafkaBroker } from '../../embedded/kafka/broker.js';
import { findDamaged } from '../../embedded/kafka/storage/damage.js';
import { textBatch, WireClient } from '../../embedded/kafka/testing/wire-client.js';

const count = 500;
const topic = 'events';
const all = Array.from({ length: count }, (_, i) => `event-${i}`);

let dataDir: string;
let broker: KafkaBroker;
let client: WireClient;

async function start(): Promise<void> {
  broker = new KafkaBroker({ dataDir, port: 0, tailCacheBytes: 0 });
  const { port } = await broker.start();
  client = await WireClient.connect(port);
}

async function stop(): Promise<void> {
  client.close();
  await broker.stop();
}

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-damage-'));
  await start();
  await client.createTopic(topic, 1, { 'segment.bytes': '8192' });
  for (const value of all) await client.produce(topic, 0, textBatch([value]));
  await stop();
});

afterEach(async () => {
  await stop();
  await rm(dataDir, { recursive: true });
});

const place = (name: string): string => join(dataDir, 'topics', `${topic}-0`, name);
const first = '00000000000000000000.log';

/** Reads all records to the end, and writes a new record, which must get a new offset. */
async function expectGoesOn(): Promise<string[]> {
  const before = await client.readAll(topic, 0, true);
  await client.produce(topic, 0, textBatch(['new']));
  const after = (await client.readAll(topic, 0, true)).map(({ value }) => value);
  expect(after).toEqual([...before.map(({ value }) => value), 'new']);
  const values = before.map(({ value }) => value ?? '');
  expect(values).toEqual(all.filter((value) => values.includes(value)));
  return values;
}

describe.each([true, false])('a log with a checkpoint: %s', (hasCheckpoint) => {
  beforeEach(async () => {
    if (!hasCheckpoint) await rm(place('checkpoint'));
  });

  test('whichever byte flips, at most a batch is lost, and the loss is reported', async () => {
    const whole = await readFile(place(first));
    await copyFile(place(first), place('whole'));
    for (let at = 0; at < 140; at += 7) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ 0x81;
      await writeFile(place(first), bytes);
      await start();
      const values = (await client.readAll(topic, 0, true)).map(({ value }) => value);
      expect(values.length, `byte ${at}`).toBeGreaterThanOrEqual(count - 1);
      // The leader's epoch is not used on a single node.
      if (at < 12 || at > 16) expect(await findDamaged(dataDir), `byte ${at}`).not.toEqual([]);
      await stop();
      for (const name of await findDamaged(dataDir)) await rm(join(dataDir, name));
    }
    await rename(place('whole'), place(first));
    await start();
    expect(await expectGoesOn()).toEqual(all);
  });

  test('a missing or truncated segment in the middle loses only its own records', async () => {
    await start();
    await stop();
    const { size, path, last } = await secondSegment();
    await truncate(path, Math.floor(size / 2));
    await start();
    const values = await expectGoesOn();
    expect(values.length).toBeGreaterThan(count - last);
    expect(await findDamaged(dataDir)).toHaveLength(1);
    await stop();
    await rm(path);
    await start();
    expect((await client.readAll(topic, 0, true)).at(-1)?.value).toBe('new');
    expect((await findDamaged(dataDir)).length).toBeGreaterThan(1);
  });
});

async function secondSegment(): Promise<{ path: string; size: number; last: number }> {
  const names = (await readdir(place(''))).filter((name) => name.endsWith('.log')).toSorted();
  const path = place(names[1] ?? '');
  return { path, size: (await readFile(path)).length, last: Number.parseInt(names[2] ?? '', 10) };
}

test('a damaged byte in the state loses only its entry: topics, offsets and the rest stay', async () => {
  const path = join(dataDir, 'state.log');
  const whole = await readFile(path);
  for (const at of [3, 12, Math.floor(whole.length / 2)]) {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] ?? 0) ^ 0x11;
    await writeFile(path, bytes);
    await start();
    expect(await findDamaged(dataDir), `byte ${at}`).toEqual(['state.log.damaged']);
    await stop();
    await rm(`${path}.damaged`);
  }
  await writeFile(path, '');
  await start();
  expect(await findDamaged(dataDir)).toEqual(['state.log.damaged']);
});
