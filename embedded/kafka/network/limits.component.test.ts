import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KafkaBroker } from '../broker.js';
import type { KafkaBrokerOptions } from '../broker.js';
import { ManualClock } from '../testing/manual-clock.js';
import { textBatch, WireClient } from '../testing/wire-client.js';

const mebibyte = 1024 * 1024;

let dataDir: string;
let clock: ManualClock;
let broker: KafkaBroker;
let port: number;
let clients: WireClient[];
let logged: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-limits-'));
  clock = new ManualClock();
  clients = [];
  logged = '';
});

afterEach(async () => {
  for (const client of clients) client.close();
  await broker.stop();
  await rm(dataDir, { recursive: true, force: true });
});

test('a partial request is closed after some time, even if bytes trickle in', async () => {
  await start();
  const slow = await connect();
  slow.sendRaw(announce(1000));
  await sentSomething();
  for (let second = 0; second < 29; second++) {
    slow.sendRaw(Buffer.alloc(1));
    clock.advance(1000);
  }
  expect(logged).not.toContain('Closed');
  clock.advance(3000);
  await slow.closed();
  expect(logged).toContain('a request has begun and not ended in time');
});

test('an idle connection is closed after ten minutes, an active one is not', async () => {
  await start();
  const [idle, busy] = [await connect(), await connect()];
  await idle.createTopic('t');
  for (let minute = 0; minute < 11; minute++) {
    await busy.fetch('t', 0, 0);
    clock.advance(60_000);
  }
  await idle.closed();
  expect(logged.match(/it was idle/g)).toHaveLength(1);
  expect(await busy.createTopic('u')).toBe(0);
});

test('connections beyond the limit are refused, and a closed one makes room', async () => {
  await start({ maxConnections: 2 });
  const [first, second] = [await connect(), await connect()];
  await first.createTopic('t');
  await second.createTopic('u');
  const third = await connect();
  await third.closed();
  first.close();
  await expect.poll(async () => (await connect()).createTopic('v').catch(() => -1)).not.toBe(-1);
});

test('the bytes arriving on all connections are limited; each request is served in its turn', async () => {
  await start({ maxRequestBytes: mebibyte });
  const setup = await connect();
  await setup.createTopic('t', 1, { 'max.message.bytes': `${2 * mebibyte}` });
  setup.close();
  const hoarders = await Promise.all(Array.from({ length: 2 }, connect));
  for (const hoarder of hoarders) hoarder.sendRaw(announce(700_000));
  await sentSomething();
  const others = await Promise.all(Array.from({ length: 10 }, connect));
  const produced = others.map((client) => client.produce('t', 0, textBatch(['x'.repeat(900_000)])));
  const settled = Promise.race(produced);
  await sentSomething();
  expect(await Promise.race([settled, sentSomething()])).toBe('nothing yet');
  clock.advance(32_000);
  await Promise.all(hoarders.map((hoarder) => hoarder.closed()));
  expect((await Promise.all(produced)).map(({ errorCode }) => errorCode)).toEqual(others.map(() => 0));
});

test('frames of many sizes on many connections are all served with little memory', async () => {
  await start({ maxRequestBytes: mebibyte });
  const senders = await Promise.all(Array.from({ length: 20 }, connect));
  await senders[0]?.createTopic('t');
  const sizes = [900_000, 100, 70_000, 400_000, 10, 250_000];
  const produced = senders.flatMap((client, i) =>
    sizes.map((_, j) => client.produce('t', 0, textBatch(['x'.repeat(sizes[(i + j) % sizes.length] ?? 0)]))),
  );
  expect((await Promise.all(produced)).every(({ errorCode }) => errorCode === 0)).toBe(true);
});

test('a reader that takes nothing is closed when others need the memory, and they are served meanwhile', async () => {
  await start({ maxAnswerBytes: mebibyte });
  const steady = await connect();
  await steady.createTopic('t');
  for (let i = 0; i < 20; i++) await steady.produce('t', 0, textBatch(['x'.repeat(900_000)]));
  const slow = await Promise.all(Array.from({ length: 4 }, connect));
  for (const client of slow) {
    client.pause();
    for (let i = 0; i < 20; i++)
      void client.fetch('t', 0, i, { maxBytes: 8 * mebibyte }).catch(() => undefined);
  }
  expect((await steady.readAll('t', 0, false)).length).toBe(20);
  clock.advance(40_000);
  for (const client of slow) client.resume();
  await Promise.all(slow.map((client) => client.closed()));
  expect(logged).toContain('it does not take its answers');
  expect((await steady.readAll('t', 0, false)).length).toBe(20);
});

async function start(options: Partial<KafkaBrokerOptions> = {}): Promise<void> {
  const logger = pino({ level: 'warn' }, { write: (line) => (logged += line) });
  broker = new KafkaBroker({ dataDir, port: 0, clock, logger, ...options });
  ({ port } = await broker.start());
}

async function connect(): Promise<WireClient> {
  const client = await WireClient.connect(port);
  clients.push(client);
  return client;
}

/** The length of a frame, and its first bytes. */
function announce(length: number): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeInt32BE(length);
  return bytes;
}

/** Waits until the broker, which is in this thread, has received everything sent before on any connection. */
async function sentSomething(): Promise<'nothing yet'> {
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  return 'nothing yet';
}
