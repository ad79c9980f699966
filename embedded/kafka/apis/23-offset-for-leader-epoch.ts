import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { Services } from '../services.js';

interface AskedPartition {
  index: number;
  currentLeaderEpoch: number;
  leaderEpoch: number;
}

interface EpochEnd {
  index: number;
  errorCode: number;
  leaderEpoch: number;
  endOffset: number;
}

type EpochEnds = { name: string; partitions: EpochEnd[] }[];

/** The epoch of every batch: the leader never changes. */
const onlyEpoch = 0;
/** Kafka's undefined epoch or offset. */
const undefinedNumber = -1;

/**
 * OffsetForLeaderEpoch, versions 2–4 (4 flexible): the end of a leader epoch. A consumer uses it to notice
 * that the log was truncated (KIP-320). There is one epoch, 0, which ends at the end of the log; a later one
 * is unknown.
 *
 *     Request  => replica_id i32 (3+) · [topic · [partition i32 · current_leader_epoch i32 · leader_epoch i32]]
 *     Response => throttle_time_ms i32 · [topic · [error_code i16 · partition i32 · leader_epoch i32 · end_offset i64]]
 */
export const offsetForLeaderEpoch = defineApi<{ name: string; partitions: AskedPartition[] }[], EpochEnds>({
  key: 23,
  name: 'OffsetForLeaderEpoch',
  minVersion: 2,
  maxVersion: 4,
  flexibleFrom: 4,

  decode(reader, version) {
    if (version >= 3) reader.int32();
    return reader.structs(() => ({
      name: reader.string(),
      partitions: reader.structs(() => ({
        index: reader.int32(),
        currentLeaderEpoch: reader.int32(),
        leaderEpoch: reader.int32(),
      })),
    }));
  },

  handle: (topics, { services }) =>
    topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((partition) => endOf(services, name, partition)),
    })),

  encode(writer, topics) {
    writer.int32(0);
    writer.structs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, (partition) => {
        writer.int16(partition.errorCode);
        writer.int32(partition.index);
        writer.int32(partition.leaderEpoch);
        writer.int64(partition.endOffset);
      });
    });
  },

  refuse: (topics, errorCode) =>
    topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ index }) => unknown(index, errorCode)),
    })),
});

function endOf({ topics }: Services, topic: string, partition: AskedPartition): EpochEnd {
  const { index, currentLeaderEpoch, leaderEpoch } = partition;
  const log = topics.log(topic, index);
  if (log === undefined) return unknown(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  if (currentLeaderEpoch > onlyEpoch) return unknown(index, ErrorCode.UNKNOWN_LEADER_EPOCH);
  if (leaderEpoch !== onlyEpoch) return unknown(index, ErrorCode.NONE);
  return { index, errorCode: ErrorCode.NONE, leaderEpoch: onlyEpoch, endOffset: log.highWatermark };
}

function unknown(index: number, errorCode: number): EpochEnd {
  return { index, errorCode, leaderEpoch: undefinedNumber, endOffset: undefinedNumber };
}
