import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Message, PartitionerArgs } from 'kafkajs';
import { kafkajs } from './kafkajs.js';
import { stickyPartitioner } from './partitioner.js';

function partitions(count: number, leaderless: number[] = []): PartitionerArgs['partitionMetadata'] {
  return Array.from({ length: count }, (_, partitionId) => ({
    partitionId,
    leader: leaderless.includes(partitionId) ? -1 : 1,
    replicas: [],
    isr: [],
    partitionErrorCode: 0,
  }));
}

const choose = stickyPartitioner();
const ofTopic = (message: Message, partitionMetadata: PartitionerArgs['partitionMetadata']): number =>
  choose({ topic: 't', message, partitionMetadata });

test('a key is assigned to the same partition as by the usual clients', () => {
  const usual = kafkajs.Partitioners.DefaultPartitioner();
  const keys = fc.oneof(
    fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    fc.string({ unit: 'binary', maxLength: 100 }),
  );
  fc.assert(
    fc.property(keys, fc.integer({ min: 1, max: 100 }), (key, count) => {
      const partitionMetadata = partitions(count);
      expect(ofTopic({ key, value: null }, partitionMetadata)).toBe(
        usual({ topic: 't', message: { key, value: null }, partitionMetadata }),
      );
    }),
    { numRuns: 500 },
  );
});

test('a key of a megabyte takes negligible time', () => {
  const started = performance.now();
  ofTopic({ key: Buffer.alloc(1 << 20, 'k'), value: null }, partitions(12));
  expect(performance.now() - started).toBeLessThan(1_000);
});

test('keyless messages are spread evenly over the partitions that have a leader', () => {
  const counts = new Map<number, number>();
  for (let index = 0; index < 300; index++) {
    const partition = ofTopic({ key: null, value: null }, partitions(4, [2]));
    counts.set(partition, (counts.get(partition) ?? 0) + 1);
  }
  expect(Object.fromEntries(counts)).toEqual({ 0: 100, 1: 100, 3: 100 });
  expect([0, 1]).toContain(ofTopic({ value: null }, partitions(2, [0, 1])));
});

test('a message keeps its partition, chosen or requested', () => {
  const message: Message = { key: null, value: null };
  const first = ofTopic(message, partitions(50));
  for (let retry = 0; retry < 10; retry++) expect(ofTopic(message, partitions(60))).toBe(first);
  expect(ofTopic({ key: 'k', value: null, partition: 7 }, partitions(50))).toBe(7);
});
