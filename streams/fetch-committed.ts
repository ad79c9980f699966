import type { FetchedMessage } from './kafkajs-decode.js';
import { filterAbortedMessages } from './kafkajs.js';
import { type Broker, readCommitted } from './log-cluster.js';

const bytesAtOnce = 4 * 1024 * 1024;

/**
 * After so many answers in a row that hold nothing of a place asked for alone there is nothing: it ends with offsets that
 * were compacted. One such answer says little: a broker may be short of memory, or slow with a remote disk.
 */
export const maxEmptyAnswers = 4;

/** Where reading goes on. */
export interface Place {
  topic: string;
  partition: number;
  /** Offset of the next record to read. */
  next: number;
}

/** What one answer holds of a place. */
export interface FetchResult<P extends Place = Place> {
  place: P;
  /** In order, markers of transactions too, aborted records left out. */
  messages: FetchedMessage[];
  /** Where to go on; the offset asked for when the answer holds nothing. */
  next: number;
  /** Next offset of a reader of committed records, as the leader knows it; not beyond `next` where it said nothing. */
  end: number;
  /** Whether the broker held its answer back, so that nothing in it says nothing of the log. */
  isThrottled: boolean;
}

/**
 * Asks the leader of some partitions for what is committed there, without a consumer group.
 *
 * @param maxWaitMs - so long the broker waits for records where there are none yet.
 * @returns an answer for each place, in their order.
 * @throws what kafkajs throws, also when one partition alone is refused.
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
    // Apache Kafka names no partition then, and kafkajs knows no time of newer versions of the request.
    const isThrottled = answer === undefined || throttleTime > 0;
    const end = Number(answer?.lastStableOffset ?? next);
    const last = answer?.messages.at(-1);
    if (answer === undefined || last === undefined) return { place, messages: [], next, end, isThrottled };
    // A batch comes whole, also with what stands before the offset asked for.
    const messages = filterAbortedMessages(answer).filter(({ offset }) => Number(offset) >= next);
    return { place, messages, next: Number(last.offset) + 1, end, isThrottled };
  });
}
