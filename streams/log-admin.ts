import type { Admin, Kafka } from 'kafkajs';
import { MillraceError } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { Mutex } from '../platform/mutex.js';
import { tlsAdvice } from '../platform/tls-problems.js';
import { backoff, pause } from '../platform/backoff.js';
import { coordinatorIsBusy, coordinatorMoved, toMillraceError, typeOf } from './kafka-errors.js';
import { kafkajs } from './kafkajs.js';
import type { TopicSpec } from './topics.js';

/** Offsets of a partition. */
export interface PartitionRange {
  partition: number;
  /** First offset. */
  low: number;
  /** Offset after the last committed record, equal to `low` when there is none. */
  high: number;
}

export interface PartitionLag {
  topic: string;
  partition: number;
  /** Next offset that the group reads; −1 without a commit. */
  committed: number;
  /** Next offset that a producer gets. */
  end: number;
  /** Records between the two (transaction markers count as one each). */
  lag: number;
}

const pingMs = 2_000;
/** Their delays sum up to three seconds at most. */
const maxRetries = 5;
/** A new topic has no leader for a moment. */
const leaderChanges = ['UNKNOWN_TOPIC_OR_PARTITION'];
/** A broker that becomes the coordinator of a group loads its offsets first; kafkajs does not wait for it. */
const coordinatorChanges = [...coordinatorIsBusy, ...coordinatorMoved];

/** Topics, offsets and readiness, over one connection that is opened when first needed. */
export class LogAdmin {
  readonly #kafka: Kafka;
  readonly #logger: Logger;
  readonly #replicationFactor: number;
  /** Why the last connection failed. */
  #problem = '';
  #connecting: Promise<Admin> | undefined;
  /**
   * One call at a time: of two calls that each name a new topic kafkajs refreshes its metadata once, and the
   * second finds no partitions there.
   */
  readonly #offsets = new Mutex();
  readonly #closing = new AbortController();

  /** @param connectTo - creates the client, which reports why its connections fail. */
  constructor(
    connectTo: (onProblem: (problem: string) => void) => Kafka,
    logger: Logger,
    replicationFactor: number,
  ) {
    this.#kafka = connectTo((problem) => (this.#problem = problem));
    this.#logger = logger;
    this.#replicationFactor = replicationFactor;
  }

  async createTopics(specs: readonly TopicSpec[]): Promise<void> {
    const what = `Creating the topics ${specs.map((spec) => spec.name).join(', ')}`;
    await this.#retry(leaderChanges, what, () => this.#createMissing(specs));
  }

  async #createMissing(specs: readonly TopicSpec[]): Promise<void> {
    const admin = await this.#admin();
    const existing = new Set(await admin.listTopics());
    const missing = specs.filter((spec) => !existing.has(spec.name));
    if (missing.length > 0)
      await admin.createTopics({
        topics: missing.map(({ name, partitions, config = {} }) => ({
          topic: name,
          numPartitions: partitions,
          replicationFactor: this.#replicationFactor,
          configEntries: Object.entries(config).map(([key, value]) => ({ name: key, value })),
        })),
      });
    await this.#warnOfDifferences(
      admin,
      specs.filter((spec) => existing.has(spec.name)),
    );
  }

  async #warnOfDifferences(admin: Admin, specs: TopicSpec[]): Promise<void> {
    if (specs.length === 0) return;
    const { topics } = await admin.fetchTopicMetadata({ topics: specs.map((spec) => spec.name) });
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: specs.map(({ name, config = {} }) => ({
        type: kafkajs.ConfigResourceTypes.TOPIC,
        name,
        configNames: Object.keys(config),
      })),
    });
    for (const { name, partitions, config = {}, upgraded = false } of specs) {
      const actual = topics.find((topic) => topic.name === name)?.partitions.length ?? 0;
      if (actual !== partitions)
        this.#logger.warn(
          { topic: name, wanted: partitions, actual },
          'The topic has another number of partitions',
        );
      const entries = resources.find((resource) => resource.resourceName === name)?.configEntries ?? [];
      const policy = entries.find((entry) => entry.configName === 'cleanup.policy')?.configValue;
      if (upgraded && policy !== config['cleanup.policy']) {
        await this.#alter(admin, name, config);
        continue;
      }
      for (const [setting, wanted] of Object.entries(config)) {
        const value = entries.find((entry) => entry.configName === setting)?.configValue;
        if (value !== wanted)
          this.#logger.warn({ topic: name, setting, wanted, actual: value }, 'The topic has another setting');
      }
    }
  }

  async #alter(admin: Admin, name: string, config: Record<string, string>): Promise<void> {
    const configEntries = Object.entries(config).map(([setting, value]) => ({ name: setting, value }));
    const type = kafkajs.ConfigResourceTypes.TOPIC;
    try {
      await admin.alterConfigs({ validateOnly: false, resources: [{ type, name, configEntries }] });
      this.#logger.info({ topic: name, config }, 'The topic of an earlier version has its settings now');
    } catch (error) {
      this.#logger.warn({ err: error, topic: name, wanted: config }, 'The topic has other settings');
    }
  }

  /**
   * Returns per partition of the topic the next offset that the group reads; partitions without a commit are
   * left out. Waits up to three seconds for a coordinator that loads the group.
   */
  async committed(groupId: string, topic: string): Promise<Map<number, number>> {
    return this.#retry(coordinatorChanges, `Reading the offsets of group ${groupId}`, async () => {
      const admin = await this.#admin();
      const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] });
      const committed = new Map<number, number>();
      for (const { partition, offset } of offsets?.partitions ?? [])
        if (Number(offset) >= 0) committed.set(partition, Number(offset));
      return committed;
    });
  }

  /** Returns the first and next committed offset of each partition. */
  async ends(topic: string): Promise<PartitionRange[]> {
    try {
      // kafkajs asks under read_committed, so the end is the last stable offset.
      const ends = await this.#offsets.run(async () => (await this.#admin()).fetchTopicOffsets(topic));
      return ends.map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }));
    } catch (error) {
      throw toMillraceError(error, `Reading the end of ${topic}`);
    }
  }

  /** Returns the names of all visible topics. */
  async topics(): Promise<string[]> {
    try {
      return await (await this.#admin()).listTopics();
    } catch (error) {
      throw toMillraceError(error, 'Listing the topics');
    }
  }

  async requireTopics(topics: readonly string[]): Promise<void> {
    const existing = new Set(await this.topics());
    const missing = topics.filter((topic) => !existing.has(topic));
    if (missing.length > 0)
      throw new MillraceError(
        'TOPIC_MISSING',
        `The log has no topic ${missing.join(', ')}, or it may not be seen. Every role creates the topics at its start: check KAFKA_BROKERS; \`millrace doctor\` tells more.`,
      );
  }

  /**
   * Returns per partition the first offset with a record of that time (milliseconds since 1970) or later,
   * else the end.
   */
  async offsetsAt(topic: string, time: number): Promise<Map<number, number>> {
    try {
      const offsets = await this.#offsets.run(async () =>
        (await this.#admin()).fetchTopicOffsetsByTimestamp(topic, time),
      );
      return new Map(offsets.map(({ partition, offset }) => [partition, Number(offset)]));
    } catch (error) {
      throw toMillraceError(error, `Looking for a time in ${topic}`);
    }
  }

  async lag(groupId: string, topics: readonly string[]): Promise<PartitionLag[]> {
    const perTopic = await Promise.all(
      topics.map(async (topic) => {
        const committed = await this.committed(groupId, topic);
        return (await this.ends(topic)).map(({ partition, low, high }) => {
          const next = committed.get(partition) ?? -1;
          return {
            topic,
            partition,
            committed: next,
            end: high,
            lag: Math.max(0, high - Math.max(next, low)),
          };
        });
      }),
    );
    return perTopic.flat().toSorted((a, b) => a.topic.localeCompare(b.topic) || a.partition - b.partition);
  }

  async ping(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#silent()), pingMs);
    });
    try {
      await Promise.race([this.#admin().then((admin) => admin.describeCluster()), timeout]);
      this.#problem = '';
    } catch (error) {
      throw toMillraceError(error, 'Asking whether the log is there');
    } finally {
      clearTimeout(timer);
    }
  }

  #silent(): MillraceError {
    const reason = this.#problem === '' ? '' : `: ${this.#problem}`;
    const advice = tlsAdvice(new Error(this.#problem), 'KAFKA') ?? '';
    const text = `The log did not answer in ${pingMs} ms${reason}. ${advice}`;
    return new MillraceError('LOG_UNAVAILABLE', text.trimEnd());
  }

  /** Retries after errors of these types, until it is closed. */
  async #retry<T>(types: readonly string[], what: string, action: () => Promise<T>): Promise<T> {
    const { signal } = this.#closing;
    for (let attempt = 0; ; attempt++) {
      try {
        return await action();
      } catch (error) {
        const failure = toMillraceError(error, what);
        if (!types.includes(typeOf(error)) || attempt === maxRetries) throw failure;
        await backoff(attempt, { signal });
        if (signal.aborted) throw failure;
      }
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const connecting = this.#connecting;
    this.#connecting = undefined;
    await connecting?.then((admin) => admin.disconnect()).catch(() => undefined);
  }

  #admin(): Promise<Admin> {
    this.#connecting ??= this.#connect();
    return this.#connecting;
  }

  async #connect(): Promise<Admin> {
    const admin = this.#kafka.admin();
    try {
      await admin.connect();
      return admin;
    } catch (error) {
      this.#connecting = undefined;
      await admin.disconnect().catch(() => undefined);
      throw error;
    }
  }
}

/** Time that a new leader of a partition may take to learn the end of the log, milliseconds. */
const leaderChangeMs = 500;

/** A position that a consumer group can't have reached by reading. */
export interface OffsetBeyondEnd {
  groupId: string;
  topic: string;
  partition: number;
  committed: number;
  /** The offset that the next record gets. */
  end: number;
}

/**
 * Finds committed offsets of a group beyond the end of the log: the log has lost records, or somebody set the
 * offset. The group skips records up to there, or reads everything again.
 *
 * @throws MillraceError as {@link LogAdmin.lag}.
 */
export async function offsetsBeyondEnd(
  streams: Pick<LogAdmin, 'lag'>,
  groupId: string,
  topics: readonly string[],
): Promise<OffsetBeyondEnd[]> {
  const look = async (): Promise<OffsetBeyondEnd[]> =>
    (await streams.lag(groupId, topics)).flatMap(({ topic, partition, committed, end }) =>
      committed > end ? [{ groupId, topic, partition, committed, end }] : [],
    );
  if ((await look()).length === 0) return [];
  await pause(leaderChangeMs);
  return look();
}

/** Describes such a position for people. */
export function describeBeyondEnd({ groupId, topic, partition, committed, end }: OffsetBeyondEnd): string {
  return `${groupId} has committed offset ${committed} of ${topic}/${partition}, where the log ends at ${end}: records were lost, or the offset was set by hand`;
}
