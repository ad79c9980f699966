import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '../../../platform/logger.js';
import { Offsets } from '../groups/offsets.js';
import { StateStore } from '../storage/state-store.js';
import { ManualClock } from '../testing/manual-clock.js';
import { ProducerIds } from './producer-ids.js';
import { TransactionCoordinator } from './transaction-coordinator.js';
import type { TransactionLogs } from './transaction-coordinator.js';

const minute = 60_000;
const p0 = { topic: 't', partition: 0 };
const p1 = { topic: 't', partition: 1 };

let folder: string;
let store: StateStore;
let clock: ManualClock;
let offsets: Offsets;
let coordinator: TransactionCoordinator;
let markers: string[];
let open: ReturnType<TransactionLogs['open']>;
let failMarkers: number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-txn-'));
  clock = new ManualClock();
  markers = [];
  open = [];
  failMarkers = 0;
  await start();
});

afterEach(async () => {
  await coordinator.stop();
  await store.close();
  await rm(folder, { recursive: true, force: true });
});

test('a transaction commits once: markers on every partition, offsets visible only then', async () => {
  const producer = await init();
  expect(await coordinator.addPartitions('x', producer, [p0, p1])).toEqual([0, 0]);
  expect(await coordinator.addGroup('x', producer, 'g')).toBe(0);
  expect(await coordinator.stageOffsets('x', producer, 'g', [offset(42)])).toBe(0);
  expect(offsets.get('g', 't', 0)).toBeUndefined();
  expect(coordinator.hasPendingOffset('g', 't', 0)).toBe(true);
  expect(await coordinator.end('x', producer, true)).toBe(0);
  expect(markers.toSorted()).toEqual(['t-0 0/0 commit', 't-1 0/0 commit']);
  expect(offsets.get('g', 't', 0)?.offset).toBe(42);
  expect(coordinator.hasPendingOffset('g', 't', 0)).toBe(false);
  expect(await coordinator.end('x', producer, true)).toBe(0);
  expect(await coordinator.end('x', producer, false)).toBe(48);
  expect(markers).toHaveLength(2);
});

test('an abort drops the offsets', async () => {
  const producer = await init();
  await coordinator.addGroup('x', producer, 'g');
  await coordinator.stageOffsets('x', producer, 'g', [offset(42)]);
  expect(await coordinator.end('x', producer, false)).toBe(0);
  expect(offsets.get('g', 't', 0)).toBeUndefined();
  expect(await coordinator.end('x', producer, true)).toBe(48);
});

test('refuses calls of other ids, producers and epochs, and outside a transaction', async () => {
  const producer = await init();
  expect(await coordinator.end('x', producer, true)).toBe(48);
  expect(await coordinator.stageOffsets('x', producer, 'g', [offset(1)])).toBe(48);
  expect(coordinator.checkProduce('x', producer, 't', 0)).toBe(48);
  expect(coordinator.checkProduce(null, producer, 't', 0)).toBe(48);
  expect(await coordinator.addPartitions('unknown', producer, [p0])).toEqual([49]);
  expect(await coordinator.addPartitions('x', { producerId: 99, epoch: 0 }, [p0])).toEqual([49]);
  expect(await coordinator.addPartitions('x', { ...producer, epoch: 5 }, [p0])).toEqual([47]);
  expect(await coordinator.addPartitions('x', producer, [p0, { topic: 'missing', partition: 0 }])).toEqual([
    55, 3,
  ]);
  await coordinator.addPartitions('x', producer, [p0]);
  expect(coordinator.checkProduce('x', producer, 't', 0)).toBe(0);
  expect(coordinator.checkProduce('x', producer, 't', 1)).toBe(48);
  expect(await coordinator.init('y', 15 * minute + 1, undefined)).toMatchObject({ errorCode: 50 });
  expect(await coordinator.init('y', 0, undefined)).toMatchObject({ errorCode: 50 });
});

test('a new producer with the same id aborts what was open and fences the old one', async () => {
  const old = await init();
  await coordinator.addPartitions('x', old, [p0]);
  const fresh = await init();
  expect(fresh).toEqual({ errorCode: 0, producerId: old.producerId, epoch: 1 });
  expect(markers).toEqual(['t-0 0/1 abort']);
  expect(coordinator.checkProduce('x', old, 't', 0)).toBe(47);
  expect(await coordinator.end('x', old, true)).toBe(47);
  expect(await coordinator.addPartitions('x', fresh, [p0])).toEqual([0]);
});

test('a producer bumps its own epoch, and a retry of that gets the same answer', async () => {
  const producer = await init();
  const bumped = await coordinator.init('x', minute, producer);
  expect(bumped).toMatchObject({ errorCode: 0, epoch: 1 });
  expect(await coordinator.init('x', minute, producer)).toEqual(bumped);
  expect(await coordinator.init('x', minute, bumped)).toMatchObject({ errorCode: 0, epoch: 2 });
  expect(await coordinator.init('x', minute, producer)).toMatchObject({ errorCode: 47 });
});

test('when epochs run out there is a new producer id', async () => {
  let producer = await init();
  for (let i = 0; i < 3; i++) producer = await init();
  const saved = { ...[...store.entries<object>('transaction')][0]?.value, epoch: 32766 };
  await restart([{ key: ['transaction', 'x'], value: saved }]);
  expect(await init()).toMatchObject({ errorCode: 0, epoch: 0, producerId: producer.producerId + 1000 });
});

test('a transaction that takes too long is aborted, and its producer fenced', async () => {
  const producer = await init();
  await coordinator.addPartitions('x', producer, [p0]);
  clock.advance(minute - 1);
  expect(coordinator.checkProduce('x', producer, 't', 0)).toBe(0);
  clock.advance(1);
  expect(coordinator.checkProduce('x', producer, 't', 0)).toBe(47);
  await coordinator.stop();
  expect(markers).toEqual(['t-0 0/1 abort']);
});

test('an open transaction continues after a restart; its timeout is not extended', async () => {
  const producer = await init();
  await coordinator.addPartitions('x', producer, [p0]);
  await coordinator.addGroup('x', producer, 'g');
  await coordinator.stageOffsets('x', producer, 'g', [offset(7)]);
  clock.advance(minute / 2);
  await restart();
  expect(await coordinator.end('x', producer, true)).toBe(0);
  expect(markers).toEqual(['t-0 0/0 commit']);
  expect(offsets.get('g', 't', 0)?.offset).toBe(7);
  await coordinator.addPartitions('x', producer, [p0]);
  clock.advance(minute / 2);
  await restart();
  clock.advance(minute / 2);
  expect(coordinator.checkProduce('x', producer, 't', 0)).toBe(47);
});

test('a logged decision is completed after a restart', async () => {
  const producer = await init();
  await coordinator.addPartitions('x', producer, [p0]);
  failMarkers = 1;
  void coordinator.end('x', producer, true);
  await until(() => failMarkers === 0);
  markers = [];
  await restart();
  expect(markers).toEqual(['t-0 0/0 commit']);
  expect(await coordinator.end('x', producer, true)).toBe(0);
});

test('a marker that the disk refuses is written later; meanwhile the producer must wait', async () => {
  const producer = await init();
  await coordinator.addPartitions('x', producer, [p0]);
  failMarkers = 2;
  const ended = coordinator.end('x', producer, true);
  expect(await coordinator.addPartitions('x', producer, [p0])).toEqual([51]);
  await until(() => failMarkers === 1);
  clock.advance(1000);
  await until(() => failMarkers === 0);
  await until(() => (clock.advance(1000), markers.length === 1));
  expect(await ended).toBe(0);
});

test('records of a transaction without an owner are aborted at the start', async () => {
  open = [{ topic: 't', partition: 1, producerId: 77, epoch: 3 }];
  await restart();
  expect(markers).toEqual(['t-1 77/3 abort']);
});

test('an id that is unused for a week is forgotten, on disk too; one with an open transaction is not', async () => {
  const old = await init();
  const week = 7 * 24 * 60 * minute;
  clock.advance(week);
  await coordinator.expireIds();
  expect(coordinator.checkProduce('x', old, 't', 0)).toBe(48);
  clock.advance(1);
  await coordinator.expireIds();
  expect(coordinator.checkProduce('x', old, 't', 0)).toBe(49);
  await restart();
  expect(coordinator.checkProduce('x', old, 't', 0)).toBe(49);
  const used = await init();
  await coordinator.addPartitions('x', used, [p0]);
  await coordinator.expireIds();
  expect(coordinator.checkProduce('x', used, 't', 0)).toBe(0);
});

test('producer ids are never assigned twice, restarts included', async () => {
  const before = (await coordinator.init(null, 0, undefined)).producerId;
  await restart();
  expect((await coordinator.init(null, 0, undefined)).producerId).toBeGreaterThan(before);
});

async function start(): Promise<void> {
  store = await StateStore.open(join(folder, 'state.log'), silentLogger);
  offsets = new Offsets(store);
  const logs: TransactionLogs = {
    exists: (topic) => topic === 't',
    appendMarker(topic, partition, producerId, epoch, committed) {
      if (failMarkers > 0) {
        failMarkers--;
        return Promise.reject(new Error('disk full'));
      }
      markers.push(`${topic}-${partition} ${producerId}/${epoch} ${committed ? 'commit' : 'abort'}`);
      return Promise.resolve();
    },
    open: () => open,
  };
  const producerIds = new ProducerIds(store);
  coordinator = new TransactionCoordinator({
    store,
    offsets,
    producerIds,
    logs,
    clock,
    logger: silentLogger,
  });
  await coordinator.recover();
}

async function restart(changes: Parameters<StateStore['put']>[0] = []): Promise<void> {
  const stopped = coordinator.stop();
  clock.advance(0);
  await Promise.race([stopped, new Promise(setImmediate)]);
  if (changes.length > 0) await store.put(changes);
  await store.close();
  await start();
}

async function init(): Promise<{ errorCode: number; producerId: number; epoch: number }> {
  return await coordinator.init('x', minute, undefined);
}

function offset(value: number): Parameters<TransactionCoordinator['stageOffsets']>[3][number] {
  return { ...p0, committed: { offset: value, leaderEpoch: -1, metadata: null, committedAt: 0 } };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}
