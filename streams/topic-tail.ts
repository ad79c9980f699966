import type { Kafka } from 'kafkajs';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { atMost, backoff, Condition, pause } from '../platform/backoff.js';
import { ConsumptionHealth, type ConsumptionStatus } from './consumption.js';
import { type FetchResult, fetchCommitted, maxEmptyAnswers, type Place } from './fetch-committed.js';
import { typeOf } from './kafka-errors.js';
import type { PartitionRange } from './log-admin.js';
import { type Broker, type Cluster, createCluster, offsetOf, partitionsOf } from './log-cluster.js';
import { toStreamRecord } from './records.js';
import type { StreamRecord } from './records.js';

export interface TopicTailOptions {
  topics: string[];
  /**
   * Handles records as they are read: of one partition, in order, each once. When it throws, the same records
   * are passed again after a pause, for as long as it takes.
   */
  handle(records: StreamRecord[]): void | Promise<void>;
}

/** A process's view of some topics, from their beginning on. */
export interface Follower {
  /**
   * Resolves once all records committed to the topics before this call are handled, including those behind an
   * open transaction of another producer.
   *
   * @throws MillraceError `LOG_UNAVAILABLE`, retriable, after `timeoutMs`.
   */
  whenCaughtUp(options: { timeoutMs: number }): Promise<void>;
  status(): ConsumptionStatus;
  stop(): Promise<void>;
}

/**
 * Returns the first and next offset of each partition of a topic, once all earlier transactions have ended.
 */
export type LastStableOffsets = (topic: string, timeoutMs: number) => Promise<readonly PartitionRange[]>;

const pollMs = 50;
/** How long a broker waits for new records. */
const maxWaitMs = 500;
/** The log counts as unavailable after this time without an answer. */
const silenceMs = 5_000;
/** Interval of the checks for added partitions. */
const refreshMs = 30_000;
/** The same while a partition has no leader. */
const leaderlessMs = 500;
const stopMs = 15_000;

interface FollowedPlace extends Place {
  /** Consecutive failures of its handling. */
  failures: number;
  /** Consecutive empty answers although there should be records. */
  empties: number;
  /** When (milliseconds, of `performance.now()`) its leader last answered. */
  answeredAt: number;
  /** Whether it pauses after a failure. */
  isHeld: boolean;
}

/**
 * Reads whole topics without a consumer group: nothing joins, commits or shares, every start begins at the
 * beginning, and no group reports a permanent lag.
 */
export class TopicTail implements Follower {
  readonly #kafka: Kafka;
  readonly #logger: Logger;
  readonly #options: TopicTailOptions;
  readonly #lastStableOffsets: LastStableOffsets;
  readonly #health = new ConsumptionHealth(silenceMs, 'connecting to the log');
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  /** By topic and partition. */
  readonly #places = new Map<string, FollowedPlace>();
  /** Consecutive connections over which nothing was read. */
  #failures = 0;
  /** Notes that records were handled. */
  readonly #changed = new Condition();

  constructor(kafka: Kafka, logger: Logger, options: TopicTailOptions, lastStableOffsets: LastStableOffsets) {
    this.#kafka = kafka;
    this.#logger = logger.child({ follows: options.topics });
    this.#options = options;
    this.#lastStableOffsets = lastStableOffsets;
    this.#running = this.#run();
  }

  async whenCaughtUp({ timeoutMs }: { timeoutMs: number }): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const ends = await Promise.all(
      this.#options.topics.map(async (topic) =>
        (await this.#lastStableOffsets(topic, timeoutMs)).map((end) => ({
          key: `${topic}/${end.partition}`,
          ...end,
        })),
      ),
    );
    const missing = ends.flat().filter(({ low, high }) => high > low);
    while (missing.some(({ key, high }) => (this.#places.get(key)?.next ?? 0) < high)) {
      if (performance.now() > deadline) {
        throw new MillraceError(
          'LOG_UNAVAILABLE',
          `Reading ${this.#options.topics.join(', ')} took longer than ${timeoutMs} ms. It goes on; check that the brokers answer.`,
        );
      }
      await this.#changed.wait(pollMs);
    }
  }

  status(): ConsumptionStatus {
    return this.#health.status;
  }

  /** Lets calls of `handle` end. While the log is unavailable, its connections end by themselves. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await atMost(stopMs, this.#running);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const cluster = createCluster(this.#kafka);
      try {
        await cluster.connect();
        await cluster.addMultipleTargetTopics(this.#options.topics);
        while (!signal.aborted) {
          await this.#readAll(cluster);
          await cluster.refreshMetadata();
        }
      } catch (error) {
        if (!signal.aborted) {
          this.#health.report(error);
          this.#logger.warn({ error: messageOf(error) }, 'Reading stopped; connecting again');
        }
      }
      await cluster.disconnect().catch(() => undefined);
      await backoff(this.#failures++, { signal });
    }
  }

  /** Reads from all leaders until the metadata must be refreshed. */
  async #readAll(cluster: Cluster): Promise<void> {
    const { leaders, isComplete } = await this.#leaders(cluster);
    const deadline = performance.now() + (isComplete ? refreshMs : leaderlessMs);
    let isBroken = false;
    const goesOn = (): boolean => !isBroken && !this.#stopping.signal.aborted && performance.now() < deadline;
    const readings = [...leaders].map(async ([nodeId, places]) => {
      try {
        while (goesOn()) await this.#readFrom(cluster, nodeId, places);
      } catch (error) {
        isBroken = true;
        throw error;
      }
    });
    for (const outcome of await Promise.allSettled(readings))
      if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Groups the partitions by leader, and returns whether each has one. */
  async #leaders(cluster: Cluster): Promise<{ leaders: Map<string, FollowedPlace[]>; isComplete: boolean }> {
    const leaders = new Map<string, FollowedPlace[]>();
    let isComplete = true;
    for (const topic of this.#options.topics) {
      for (const { partitionId, leader } of partitionsOf(cluster, topic)) {
        const place = this.#placeOf(topic, partitionId);
        if (leader < 0) isComplete = false;
        else leaders.set(String(leader), [...(leaders.get(String(leader)) ?? []), place]);
      }
    }
    if (leaders.size > 0) return { leaders, isComplete };
    throw new MillraceError(
      'LOG_UNAVAILABLE',
      `No partition of ${this.#options.topics.join(', ')} has a leader. Check that the brokers run.`,
    );
  }

  #placeOf(topic: string, partition: number): FollowedPlace {
    const key = `${topic}/${partition}`;
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const unread = { next: 0, failures: 0, empties: 0, answeredAt: Number.NEGATIVE_INFINITY, isHeld: false };
    const place = { topic, partition, ...unread };
    this.#places.set(key, place);
    return place;
  }

  async #readFrom(cluster: Cluster, nodeId: string, places: readonly FollowedPlace[]): Promise<void> {
    const due = places.filter(({ isHeld }) => !isHeld);
    // One of several partitions may fill the answer.
    const doubtful = due.find(({ empties }) => empties > 0);
    if (due.length === 0) await pause(pollMs, this.#stopping.signal);
    else await this.#read(await cluster.findBroker({ nodeId }), doubtful ? [doubtful] : due);
    const oldest = performance.now() - silenceMs;
    if ([...this.#places.values()].some((each) => each.failures > 0 || each.answeredAt < oldest)) return;
    this.#health.contact();
    this.#health.report();
  }

  async #read(broker: Broker, places: readonly FollowedPlace[]): Promise<void> {
    const [place] = places;
    try {
      const answers = await fetchCommitted(broker, places, maxWaitMs);
      this.#failures = 0;
      await Promise.all(answers.map((answer) => this.#take(answer)));
    } catch (error) {
      const isAnswer = typeOf(error) !== '' || error instanceof MillraceError;
      if (isAnswer && places.length > 1) await this.#readEach(broker, places);
      else if (typeOf(error) === 'OFFSET_OUT_OF_RANGE' && place) await this.#beginAgain(broker, place, error);
      else throw error;
    }
  }

  /** An error of one partition fails the whole request, and the answer does not name it. */
  async #readEach(broker: Broker, places: readonly FollowedPlace[]): Promise<void> {
    const failures: unknown[] = [];
    for (const place of places)
      if (!this.#stopping.signal.aborted)
        await this.#read(broker, [place]).catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }

  /** The next records were deleted, or the topic was recreated: continues at its first offset. */
  async #beginAgain(broker: Broker, place: FollowedPlace, error: unknown): Promise<void> {
    const { topic, partition, next } = place;
    const first = await offsetOf(broker, place, 'earliest');
    if (first === next) throw error;
    if (next > 0)
      this.#logger.warn({ topic, partition, next, first }, 'The next records are gone; reading on');
    place.next = first;
  }

  async #take({ place, messages, next, end, isThrottled }: FetchResult<FollowedPlace>): Promise<void> {
    const { topic, partition } = place;
    place.answeredAt = performance.now();
    const records = messages
      .filter(({ isControlRecord }) => !isControlRecord)
      .map((message) => toStreamRecord(topic, partition, message));
    try {
      if (records.length > 0) await this.#options.handle(records);
    } catch (error) {
      this.#health.report(error);
      this.#logger.warn(
        { topic, partition, attempt: place.failures, err: error },
        'Handling failed; the same records are tried again',
      );
      place.isHeld = true;
      void backoff(place.failures++, { signal: this.#stopping.signal }).then(() => (place.isHeld = false));
      return;
    }
    place.failures = 0;
    const isEmpty = next === place.next;
    place.empties = isEmpty && end > next && !isThrottled ? place.empties + 1 : 0;
    if (isEmpty && place.empties < maxEmptyAnswers) return;
    place.next = isEmpty ? end : next;
    this.#changed.notify();
  }
}
