import { defineApi } from '../protocol/api.js';
import type { RequestContext } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { AbortedTransaction } from '../storage/producer-states.js';

interface FetchRequest {
  maxWaitMs: number;
  minBytes: number;
  maxBytes: number;
  committedOnly: boolean;
  sessionId: number;
  topics: { name: string; partitions: { index: number; offset: number; maxBytes: number }[] }[];
}

interface FetchedPartition {
  index: number;
  errorCode: number;
  highWatermark: number;
  lastStableOffset: number;
  logStartOffset: number;
  /** `null` under read_uncommitted. */
  aborted: AbortedTransaction[] | null;
  batches: Buffer[];
}

interface FetchResponse {
  errorCode: number;
  topics: { name: string; partitions: FetchedPartition[] }[];
}

/**
 * Fetch, versions 4–12 (12 flexible). Waits until min_bytes are there or max_wait_ms have passed; an error is
 * answered at once.
 *
 * Batches are served as they are stored, from the one that contains the offset on: the first one whole even
 * if it is over max_bytes. Under read_committed it ends at the last stable offset, and aborted transactions
 * come sorted by first offset. Fetch sessions (KIP-227) are not kept: the session id is always 0, which
 * clients answer with full requests.
 *
 *     Request  => replica_id i32 · max_wait_ms i32 · min_bytes i32 · max_bytes i32 · isolation_level i8
 *                 · session_id i32 · session_epoch i32 (7+)
 *                 · [topic · [partition i32 · current_leader_epoch i32 (9+) · fetch_offset i64
 *                   · last_fetched_epoch i32 (12+) · log_start_offset i64 (5+) · partition_max_bytes i32]] · forgotten [topic · [partition i32]] (7+) · rack_id (11+)
 *     Response => throttle_time_ms i32 · error_code i16, session_id i32 (7+)
 *                 · [topic · [partition i32 · error_code i16 · high_watermark i64 · last_stable_offset i64
 *                   · log_start_offset i64 (5+) · aborted [producer_id i64 · first_offset i64] nullable
 *                   · preferred_read_replica i32 (11+) · records bytes]]
 */
export const fetch = defineApi<FetchRequest, FetchResponse>({
  key: 1,
  name: 'Fetch',
  minVersion: 4,
  maxVersion: 12,
  flexibleFrom: 12,

  decode(reader, version) {
    reader.int32();
    const maxWaitMs = reader.int32();
    const minBytes = reader.int32();
    const maxBytes = reader.int32();
    const committedOnly = reader.int8() === 1;
    const sessionId = version >= 7 ? reader.int32() : 0;
    if (version >= 7) reader.int32();
    const topics = reader.structs(() => ({
      name: reader.string(),
      partitions: reader.structs(() => {
        const index = reader.int32();
        if (version >= 9) reader.int32();
        const offset = reader.int64();
        if (version >= 12) reader.int32();
        if (version >= 5) reader.int64();
        return { index, offset, maxBytes: reader.int32() };
      }),
    }));
    if (version >= 7) {
      reader.structs(() => [reader.string(), reader.array(() => reader.int32())]);
    }
    if (version >= 11) reader.string();
    return { maxWaitMs, minBytes, maxBytes, committedOnly, sessionId, topics };
  },

  async handle(request, context) {
    if (request.sessionId !== 0) return { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND, topics: [] };
    const deadline = context.services.clock.now() + Math.max(0, request.maxWaitMs);
    for (;;) {
      // Subscribed before reading, so that nothing that arrives during the read is missed.
      const news = subscribe(request, context, deadline);
      try {
        const response = await readAll(request, context);
        const failed = response.topics.some(({ partitions }) =>
          partitions.some(({ errorCode }) => errorCode !== 0),
        );
        const late = context.services.clock.now() >= deadline;
        if (failed || late || bytesOf(response) >= request.minBytes) return response;
        await news.arrived;
      } finally {
        news.cancel();
      }
      if (context.closed.aborted) return undefined;
    }
  },

  encode(writer, response, version) {
    writer.int32(0);
    if (version >= 7) {
      writer.int16(response.errorCode);
      writer.int32(0);
    }
    writer.structs(response.topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, (partition) => {
        writer.int32(partition.index);
        writer.int16(partition.errorCode);
        writer.int64(partition.highWatermark);
        writer.int64(partition.lastStableOffset);
        if (version >= 5) writer.int64(partition.logStartOffset);
        writer.nullableStructs(partition.aborted, ({ producerId, firstOffset }) => {
          writer.int64(producerId);
          writer.int64(firstOffset);
        });
        if (version >= 11) writer.int32(-1);
        writer.recordBytes(partition.batches);
      });
    });
  },

  refuse: ({ topics }, errorCode) => ({
    errorCode: ErrorCode.NONE,
    topics: topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ index }) => nothing(index, errorCode)),
    })),
  }),
});

async function readAll(request: FetchRequest, context: RequestContext): Promise<FetchResponse> {
  const { maxFetchBytes, answerMemory } = context.services;
  // At least 1: the first batch is whole, however short memory is.
  let budget = Math.min(request.maxBytes, maxFetchBytes, Math.max(1, answerMemory.available));
  const topics: FetchResponse['topics'] = [];
  for (const { name, partitions } of request.topics) {
    const read: FetchedPartition[] = [];
    for (const { index, offset, maxBytes } of partitions) {
      const fetched = await readOne(request, context, name, index, offset, Math.min(maxBytes, budget));
      for (const batch of fetched.batches) budget -= batch.length;
      read.push(fetched);
    }
    topics.push({ name, partitions: read });
  }
  return { errorCode: ErrorCode.NONE, topics };
}

async function readOne(
  request: FetchRequest,
  context: RequestContext,
  topic: string,
  index: number,
  offset: number,
  maxBytes: number,
): Promise<FetchedPartition> {
  const log = context.services.topics.log(topic, index);
  if (log === undefined) return nothing(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  const upTo = request.committedOnly ? log.lastStableOffset : log.highWatermark;
  const positions = {
    index,
    highWatermark: log.highWatermark,
    lastStableOffset: log.lastStableOffset,
    logStartOffset: log.logStart,
  };
  // Once the answer is full, the other partitions wait for the next request.
  const { errorCode, batches, aborted } = await log.read(
    offset,
    maxBytes > 0 ? upTo : Math.min(upTo, offset),
    maxBytes,
  );
  return { ...positions, errorCode, batches, aborted: request.committedOnly ? aborted : null };
}

function subscribe(
  request: FetchRequest,
  context: RequestContext,
  deadline: number,
): { arrived: Promise<void>; cancel(): void } {
  const { clock, topics } = context.services;
  const stops: (() => void)[] = [];
  const cancel = (): void => {
    for (const stop of stops.splice(0)) stop();
  };
  const arrived = new Promise<void>((resolve) => {
    const wake = (): void => {
      cancel();
      resolve();
    };
    stops.push(clock.after(deadline - clock.now(), wake));
    context.closed.addEventListener('abort', wake);
    stops.push(() => context.closed.removeEventListener('abort', wake));
    for (const { name, partitions } of request.topics) {
      for (const { index } of partitions) {
        const log = topics.log(name, index);
        if (log !== undefined) stops.push(log.onAdvance(wake));
      }
    }
  });
  return { arrived, cancel };
}

function bytesOf(response: FetchResponse): number {
  let bytes = 0;
  for (const { partitions } of response.topics) {
    for (const { batches } of partitions) for (const batch of batches) bytes += batch.length;
  }
  return bytes;
}

function nothing(index: number, errorCode: number): FetchedPartition {
  return {
    index,
    errorCode,
    highWatermark: -1,
    lastStableOffset: -1,
    logStartOffset: -1,
    aborted: null,
    batches: [],
  };
}
