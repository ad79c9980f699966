import type { Kafka } from 'kafkajs';
import { MillraceError } from '../platform/errors.js';
import { backoff } from './backoff.js';
import type { FetchedMessage } from './kafkajs-decode.js';
import { filterAbortedMessages } from './kafkajs.js';
import { isFinal, toMillraceError, typeOf } from './kafka-errors.js';
import { type Cluster, createCluster, readCommitted } from './log-cluster.js';
import { type StreamRecord, toStreamRecord } from './records.js';

/** Offsets of one partition: `from` up to, and without, `to`. */
export interface Span {
  topic: string;
  partition: number;
  from: number;
  to: number;
}

const bytesAtOnce = 4 * 1024 * 1024;
/** Tries without an answer, with pauses that grow: about half a minute. */
const mostAttempts = 12;

/** The log ends with transaction markers and the like that were compacted: the answer to a fetch has no record. */
const mostEmptyAnswers = 4;

/** What one answer holds. */
interface Fetched {
  messages: FetchedMessage[];
  /** Where to go on; the offset asked for when there was nothing. */
  next: number;
}

/** Answers the first offset that a partition still has. */
export type LogStart = (topic: string, partition: number) => Promise<number>;

/**
 * Reads given places of the log, with no consumer group: nothing joins, commits, or takes work from anyone. One request
 * at a time, so that it takes little from those who live on the log.
 */
export class LogReader {
  readonly #kafka: Kafka;
  readonly #logStart: LogStart;
  #connecting: Promise<Cluster> | undefined;

  constructor(kafka: Kafka, logStart: LogStart) {
    this.#kafka = kafka;
    this.#logStart = logStart;
  }

  /**
   * Hands over the committed records of some spans, one span after the other, in order, each record once. What is no
   * record (transaction markers, aborted records, what was compacted or deleted) is passed over.
   *
   * @param handle - `false` ends the reading.
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`; what `handle` throws.
   */
  async read(
    spans: readonly Span[],
    handle: (records: StreamRecord[]) => Promise<boolean | void> | boolean | void,
  ): Promise<void> {
    for (const { topic, partition, from, to } of spans) {
      for (let next = from; next < to;) {
        const fetched = await this.#fetchPatiently(topic, partition, next);
        if (fetched === undefined) break;
        const records = fetched.messages
          .filter((message) => !message.isControlRecord && Number(message.offset) < to)
          .map((message) => toStreamRecord(topic, partition, message));
        if (records.length > 0 && (await handle(records)) === false) return;
        next = fetched.next;
      }
    }
  }

  /**
   * What one answer of the broker holds from an offset on, markers of transactions too.
   *
   * @throws what kafkajs throws.
   */
  async fetch(topic: string, partition: number, offset: number): Promise<Fetched> {
    const cluster = await this.#cluster();
    await cluster.addMultipleTargetTopics([topic]);
    const [leader] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
    if (leader === undefined)
      throw new MillraceError('LOG_UNAVAILABLE', `There is no partition ${partition} of ${topic}.`);
    const broker = await cluster.findBroker({ nodeId: leader });
    const { responses } = await broker.fetch({
      isolationLevel: readCommitted,
      maxWaitTime: 250,
      maxBytes: bytesAtOnce,
      topics: [{ topic, partitions: [{ partition, fetchOffset: String(offset), maxBytes: bytesAtOnce }] }],
    });
    const answer = responses[0]?.partitions[0];
    const last = answer?.messages.at(-1);
    if (answer === undefined || last === undefined) return { messages: [], next: offset };
    // A batch comes whole, also with what stands before the offset asked for.
    const messages = filterAbortedMessages(answer).filter((message) => Number(message.offset) >= offset);
    return { messages, next: Number(last.offset) + 1 };
  }

  async close(): Promise<void> {
    const connecting = this.#connecting;
    this.#connecting = undefined;
    await connecting?.then((cluster) => cluster.disconnect()).catch(() => undefined);
  }

  /** `undefined`: from this offset on there is nothing. */
  async #fetchPatiently(topic: string, partition: number, from: number): Promise<Fetched | undefined> {
    let offset = from;
    let empty = 0;
    for (let attempt = 0; empty < mostEmptyAnswers; attempt++) {
      try {
        const fetched = await this.fetch(topic, partition, offset);
        if (fetched.next > offset) return fetched;
        empty++;
      } catch (error) {
        if (typeOf(error) === 'OFFSET_OUT_OF_RANGE') {
          const start = await this.#logStart(topic, partition);
          if (start <= offset) return undefined;
          offset = start;
          continue;
        }
        if (attempt >= mostAttempts || isFinal(error)) throw toMillraceError(error, `Reading ${topic}`);
        const cluster = await this.#connecting?.catch(() => undefined);
        await cluster?.refreshMetadata().catch(() => undefined);
      }
      await backoff(attempt, {});
    }
    return undefined;
  }

  #cluster(): Promise<Cluster> {
    this.#connecting ??= this.#connect();
    return this.#connecting;
  }

  async #connect(): Promise<Cluster> {
    const cluster = createCluster(this.#kafka);
    try {
      await cluster.connect();
      return cluster;
    } catch (error) {
      this.#connecting = undefined;
      await cluster.disconnect().catch(() => undefined);
      throw error;
    }
  }
}
