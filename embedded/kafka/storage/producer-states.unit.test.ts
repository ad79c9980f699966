import { beforeEach, expect, test } from 'vitest';
import { controlFlag, transactionalFlag } from '../protocol/record-batch.js';
import type { BatchHeader } from '../protocol/record-batch.js';
import { ProducerStates } from './producer-states.js';

let states: ProducerStates;
let nextOffset: number;

beforeEach(() => {
  states = new ProducerStates();
  nextOffset = 100;
});

test('the first batch of an unknown producer is accepted whatever its sequence', () => {
  expect(states.check(batch({ baseSequence: 17 }))).toEqual({ kind: 'append' });
});

test('each of the last five batches is recognised when it is repeated; the sixth is out of order', () => {
  const sent = Array.from({ length: 6 }, (_, i) => append({ baseSequence: i * 2, count: 2 }));
  for (const earlier of sent.slice(1)) {
    expect(states.check(earlier)).toMatchObject({ kind: 'duplicate', baseOffset: earlier.baseOffset });
  }
  expect(states.check(batch({ baseSequence: 0, count: 2 }))).toEqual({ kind: 'refuse', errorCode: 45 });
});

test('a gap, and an overlap with other bounds, are out of order', () => {
  append({ baseSequence: 0, count: 3 });
  expect(states.check(batch({ baseSequence: 4 }))).toEqual({ kind: 'refuse', errorCode: 45 });
  expect(states.check(batch({ baseSequence: 0, count: 2 }))).toEqual({ kind: 'refuse', errorCode: 45 });
  expect(states.check(batch({ baseSequence: 3 }))).toEqual({ kind: 'append' });
});

test('sequences wrap from 2^31-1 to 0', () => {
  append({ baseSequence: 2 ** 31 - 2, count: 2 });
  expect(states.check(batch({ baseSequence: 0 }))).toEqual({ kind: 'append' });
  append({ baseSequence: 0 });
  append({ baseSequence: 1, count: 3 });
  expect(states.check(batch({ baseSequence: 2 ** 31 - 2, count: 2 }))).toMatchObject({ kind: 'duplicate' });
});

test('an old epoch is fenced, a new one starts at sequence 0', () => {
  append({ baseSequence: 0, producerEpoch: 1 });
  expect(states.check(batch({ baseSequence: 1, producerEpoch: 0 }))).toEqual({
    kind: 'refuse',
    errorCode: 47,
  });
  expect(states.check(batch({ baseSequence: 1, producerEpoch: 2 }))).toEqual({
    kind: 'refuse',
    errorCode: 45,
  });
  expect(states.check(batch({ baseSequence: 0, producerEpoch: 2 }))).toEqual({ kind: 'append' });
});

test('open transactions hold the first offset until their marker; aborted ones are listed by first offset', () => {
  const first = append({ producerId: 1, baseSequence: 0, attributes: transactionalFlag });
  const second = append({ producerId: 2, baseSequence: 0, attributes: transactionalFlag });
  append({ producerId: 3, baseSequence: 0 });
  expect(states.firstOpenOffset()).toBe(first.baseOffset);
  const secondMarker = marker(2, false);
  expect(states.firstOpenOffset()).toBe(first.baseOffset);
  const firstMarker = marker(1, false);
  expect(states.firstOpenOffset()).toBeUndefined();
  expect(states.abortedBetween(0, nextOffset)).toEqual([
    { producerId: 1, firstOffset: first.baseOffset, lastOffset: firstMarker.baseOffset },
    { producerId: 2, firstOffset: second.baseOffset, lastOffset: secondMarker.baseOffset },
  ]);
  expect(states.abortedBetween(firstMarker.baseOffset + 1, nextOffset + 10)).toEqual([]);
});

test('a marker with a bumped epoch fences the old one and lets the new one start at 0', () => {
  append({ baseSequence: 0, attributes: transactionalFlag });
  marker(1, false, 1);
  expect(states.check(batch({ baseSequence: 1, producerEpoch: 0 }))).toEqual({
    kind: 'refuse',
    errorCode: 47,
  });
  expect(states.check(batch({ baseSequence: 0, producerEpoch: 1 }))).toEqual({ kind: 'append' });
});

test('a snapshot restores everything', () => {
  append({ baseSequence: 0, attributes: transactionalFlag });
  append({ producerId: 2, baseSequence: 0, attributes: transactionalFlag });
  marker(2, false);
  const restored = new ProducerStates();
  restored.restore(JSON.parse(JSON.stringify(states.snapshot())));
  expect(restored.snapshot()).toEqual(states.snapshot());
  expect(restored.firstOpenOffset()).toBe(100);
});

test('pruning forgets idle producers, but none with an open transaction', () => {
  append({ producerId: 1, baseSequence: 0, maxTimestamp: 10 });
  append({ producerId: 2, baseSequence: 0, maxTimestamp: 10, attributes: transactionalFlag });
  states.prune(0, 11, 1_000);
  expect(states.snapshot().producers.map(([id]) => id)).toEqual([2]);
});

test('pruning forgets a producer whose records are from the far future some time after its last write', () => {
  append({ producerId: 1, baseSequence: 0, maxTimestamp: 2 ** 62 });
  states.prune(0, 900, 1_000);
  expect(states.snapshot().producers).toHaveLength(1);
  states.prune(0, 1_001, 1_101);
  expect(states.snapshot().producers).toHaveLength(0);
});

function append(fields: Partial<BatchHeader>): BatchHeader {
  const header = batch(fields);
  expect(states.check(header)).toEqual({ kind: 'append' });
  states.apply(header, false);
  nextOffset = header.lastOffset + 1;
  return header;
}

function marker(producerId: number, committed: boolean, producerEpoch = 0): BatchHeader {
  const header = batch({
    producerId,
    producerEpoch,
    baseSequence: -1,
    attributes: transactionalFlag | controlFlag,
  });
  states.apply(header, committed);
  nextOffset++;
  return header;
}

function batch(fields: Partial<BatchHeader>): BatchHeader {
  const count = fields.count ?? 1;
  return {
    baseOffset: nextOffset,
    lastOffset: nextOffset + count - 1,
    size: 100,
    attributes: 0,
    baseTimestamp: 0,
    maxTimestamp: 0,
    producerId: 1,
    producerEpoch: 0,
    baseSequence: 0,
    count,
    ...fields,
  };
}
