import { randomInt } from 'node:crypto';
import type { ICustomPartitioner, PartitionerArgs } from 'kafkajs';

/**
 * Chooses a message's partition as usual (murmur2 of the key, as Java's clients do; keyless ones in turn),
 * once for a message. With a choice for each attempt a keyless message, or any after partitions were added,
 * would move to another partition, past the duplicate check of the first.
 *
 * kafkajs' own murmur2 multiplies integers that are never truncated to 32 bits: its time grows with the
 * square of the key's length, and 200 KB take seconds.
 */
export const stickyPartitioner: ICustomPartitioner = () => {
  let turn = randomInt(0x1000);
  return ({ partitionMetadata, message }) => {
    const { key } = message;
    message.partition ??=
      key === null || key === undefined
        ? nextInTurn(partitionMetadata, turn++)
        : toPositive(murmur2(typeof key === 'string' ? Buffer.from(key) : key)) % partitionMetadata.length;
    return message.partition;
  };
};

/** Returns a partition that has a leader, if any. */
function nextInTurn(partitions: PartitionerArgs['partitionMetadata'], turn: number): number {
  const available = partitions.filter(({ leader }) => leader >= 0);
  const choice = available.length > 0 ? available : partitions;
  return choice[turn % choice.length]?.partitionId ?? 0;
}

/** Java's clients drop the sign bit instead of taking the absolute value. */
function toPositive(hash: number): number {
  return hash & 0x7fffffff;
}

/** Austin Appleby's MurmurHash2 (32 bits) with the seed of Apache Kafka's clients. */
function murmur2(bytes: Buffer): number {
  const m = 0x5bd1e995;
  const { length } = bytes;
  const whole = length - (length % 4);
  let hash = 0x9747b28c ^ length;
  for (let at = 0; at < whole; at += 4) {
    let word = Math.imul(bytes.readInt32LE(at), m);
    word = Math.imul(word ^ (word >>> 24), m);
    hash = Math.imul(hash, m) ^ word;
  }
  if (whole < length) hash = Math.imul(hash ^ bytes.readUIntLE(whole, length - whole), m);
  hash = Math.imul(hash ^ (hash >>> 13), m);
  return hash ^ (hash >>> 15);
}
