import type { Kafka } from 'kafkajs';
import { MillraceError } from '../platform/errors.js';
import { backoff } from '../platform/backoff.js';
import { type FetchResult, fetchCommitted, maxEmptyAnswers } from './fetch-committed.js';
import { isFinal, toMillraceError, typeOf } from './kafka-errors.js';
import type { PartitionRange } from './log-admin.js';
import { type Broker, type Cluster, createCluster, offsetOf, partitionsOf } from './log-cluster.js';
import { type StreamRecord, toStreamRecord } from './records.js';

/** Offsets of one partition: `from` up to, and without, `to`. */
export interface Span {
  topic: string;
  partition: number;
  from: number;
  to: number;
}

const maxWaitMs = 250;
/** Attempts without an answer, with growing pauses: about half a minute. */
const maxAttempts = 12;

/** Returns the first and the next committed offset of each partition. */
export type LogEnds = (topic: string) => Promise<readonly PartitionRange[]>;

/**
 * Reads given positions of the log, without a consumer group: it joins and commits nothing, and takes no
 * partitions from others. It makes one request at a time, so that it does not slow down other readers.
 */
export class LogReader {
  readonly #kafka: Kafka;
  readonly #ends: LogEnds;
  #connecting: Promise<Cluster> | undefined;

  constructor(kafka: Kafka, ends: LogEnds) {
    this.#kafka = kafka;
    this.#ends = ends;
  }

  /**
   * Passes on the committed records of some ranges, range after range, in order, each record once.
   * Transaction markers, aborted records, and compacted or deleted ones are skipped.
   *
   * @param handle - `false` stops the reading.
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`; errors of `handle`.
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
   * Returns one answer of the broker from an offset on, including transaction markers.
   *
   * @throws kafkajs' errors.
   */
  async fetch(topic: string, partition: number, offset: number): Promise<FetchResult> {
    const broker = await this.#leader(topic, partition);
    const place = { topic, partition, next: offset };
    const [fetched] = await fetchCommitted(broker, [place], maxWaitMs);
    return fetched ?? { place, messages: [], next: offset, end: offset, isThrottled: true };
  }

  /**
   * Waits until all records written to a topic before this call are committed or aborted. A group's position
   * can become visible before the markers that make the records of the same transaction readable.
   *
   * @returns whether they were, within `timeoutMs`.
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`.
   */
  async whenSettled(topic: string, timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    const written = new Map<number, number>();
    for (let attempt = 0; ; attempt++) {
      try {
        const ends = await this.#ends(topic);
        for (const { partition } of ends)
          if (!written.has(partition)) written.set(partition, await this.#writtenEnd(topic, partition));
        if (ends.every(({ partition, high }) => high >= (written.get(partition) ?? 0))) return true;
        if (performance.now() > deadline) return false;
      } catch (error) {
        if (isFinal(error) || performance.now() > deadline) throw error;
        await this.#lookForLeaders();
      }
      await backoff(attempt, { firstMs: 10, maxMs: 500 });
    }
  }

  /** Returns the next offset of a producer, open transactions included. */
  async #writtenEnd(topic: string, partition: number): Promise<number> {
    try {
      return await offsetOf(await this.#leader(topic, partition), { topic, partition }, 'latest');
    } catch (error) {
      throw toMillraceError(error, `Reading the end of ${topic}`);
    }
  }

  async #leader(topic: string, partition: number): Promise<Broker> {
    const cluster = await this.#cluster();
    await cluster.addMultipleTargetTopics([topic]);
    const found = partitionsOf(cluster, topic).find(({ partitionId }) => partitionId === partition);
    if (found === undefined || found.leader < 0) {
      const problem = found === undefined ? `is no partition ${partition}` : `leads partition ${partition}`;
      throw new MillraceError('LOG_UNAVAILABLE', `There ${problem} of ${topic}.`);
    }
    return cluster.findBroker({ nodeId: String(found.leader) });
  }

  async #lookForLeaders(): Promise<void> {
    const cluster = await this.#connecting?.catch(() => undefined);
    await cluster?.refreshMetadata().catch(() => undefined);
  }

  async close(): Promise<void> {
    const connecting = this.#connecting;
    this.#connecting = undefined;
    await connecting?.then((cluster) => cluster.disconnect()).catch(() => undefined);
  }

  /** `undefined`: from this offset on there is nothing. */
  async #fetchPatiently(topic: string, partition: number, from: number): Promise<FetchResult | undefined> {
    let offset = from;
    let empty = 0;
    for (let attempt = 0; ; attempt++) {
      try {
        const fetched = await this.fetch(topic, partition, offset);
        if (fetched.next > offset) return fetched;
        if (!fetched.isThrottled) empty++;
        if (empty >= maxEmptyAnswers) {
          // A new leader does not show all committed records yet, but then reports that its end is unknown.
          const { high = 0 } = (await this.#endsOf(topic, partition)) ?? {};
          if (fetched.end > offset || high <= offset) return undefined;
        }
        if (attempt >= maxAttempts) throw heldBack(topic);
      } catch (error) {
        if (typeOf(error) === 'OFFSET_OUT_OF_RANGE') {
          const { low = 0 } = (await this.#endsOf(topic, partition)) ?? {};
          if (low <= offset) return undefined;
          offset = low;
          continue;
        }
        if (attempt >= maxAttempts || isFinal(error)) throw toMillraceError(error, `Reading ${topic}`);
        await this.#lookForLeaders();
      }
      await backoff(attempt, {});
    }
  }

  async #endsOf(topic: string, partition: number): Promise<PartitionRange | undefined> {
    return (await this.#ends(topic)).find((each) => each.partition === partition);
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

function heldBack(topic: string): MillraceError {
  return new MillraceError(
    'LOG_UNAVAILABLE',
    `The broker holds its answers for ${topic} back, as it does when a quota is used up. Try again later, or raise the quota.`,
  );
}
