import type { FetchedMessage } from './kafkajs-decode.js';
import { filterAbortedMessages } from './kafkajs-fetch.js';
import { type Broker, readCommitted } from './log-cluster.js';

const bytesAtOnce = 4 * 1024 * 1024;

/**
 * Number of consecutive empty answers to a request for one partition after which its end is known to be
 * compacted offsets. One such answer proves little: a broker may be short of memory, or slow with a remote
 * disk.
 */
export const maxEmptyAnswers = 4;

/** A position to read from. */
export interface Place {
  topic: string;
  partition: number;
  /** Offset of the next record to read. */
  next: number;
}

/** The part of an answer for one partition. */
export interface FetchResult<P extends Place = Place> {
  place: P;
  /** In order, including transaction markers, without aborted records. */
  messages: FetchedMessage[];
  /** The next position; the requested offset if the answer is empty. */
  next: number;
  /** Next offset of a reader of committed records, as the leader knows it; not beyond `next` if unknown. */
  end: number;
  /** Whether the broker withheld its answer, so that it says nothing about the log. */
  isThrottled: boolean;
}

/**
 * Fetches committed records of some partitions from their leader, without a consumer group.
 *
 * @param maxWaitMs - how long the broker waits for new records.
 * @returns an answer for each position, in their order.
 * @throws kafkajs' errors, even if only one partition is refused.
 */
export async function fetchCommitted<P extends Place>(
  broker: Broker,
  places: readonly P[],
  maxWaitMs: number,
): Promise<FetchResult<P>[]> {
  const topics = [...new Set(places.map(({ topic }) => topic))];
  const { responses, throttleTime } = await broker.fetch({
    isolationLevel: readCommitted,
    maxWaitTime: maxWaitMs,
    maxBytes: bytesAtOnce,
    topics: topics.map((topic) => ({
      topic,
      partitions: places
        .filter((place) => place.topic === topic)
        .map(({ partition, next }) => ({ partition, fetchOffset: String(next), maxBytes: bytesAtOnce })),
    })),
  });
  const answers = new Map(
    responses.flatMap(({ topicName, partitions }) =>
      partitions.map((answer) => [`${topicName}/${answer.partition}`, answer] as const),
    ),
  );
  return places.map((place) => {
    const { topic, partition, next } = place;
    const answer = answers.get(`${topic}/${partition}`);
    // Apache Kafka names no partition then, and kafkajs lacks the throttle time of newer versions of the
    // request.
    const isThrottled = answer === undefined || throttleTime > 0;
    const end = Number(answer?.lastStableOffset ?? next);
    const last = answer?.messages.at(-1);
    if (answer === undefined || last === undefined) return { place, messages: [], next, end, isThrottled };
    // A batch is returned whole, including records before the requested offset.
    const messages = filterAbortedMessages(answer).filter(({ offset }) => Number(offset) >= next);
    return { place, messages, next: Number(last.offset) + 1, end, isThrottled };
  });
}
