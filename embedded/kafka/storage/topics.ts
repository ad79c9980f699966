import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Mutex } from '../../../platform/mutex.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { keepDamaged } from './damage.js';
import { syncFolder } from './files.js';
import { PartitionLog } from './partition-log.js';
import type { LogEnvironment } from './partition-log.js';
import type { StateStore } from './state-store.js';
import { ignoredSettings, logConfig, refusalOf } from './topic-config.js';
import type { ConfigValues } from './topic-config.js';

export interface Topic {
  readonly name: string;
  /** By partition number. */
  readonly partitions: PartitionLog[];
  /** The topic's own settings; all others have their defaults. */
  configs: ConfigValues;
}

interface SavedTopic {
  partitions: number;
  configs: ConfigValues;
}

/** An error code, NONE on success, with an explanation for people. */
export interface Outcome {
  errorCode: number;
  message: string | null;
}

const done: Outcome = { errorCode: ErrorCode.NONE, message: null };
const maxPartitions = 10_000;

/** All topics (kept in the state store) and their logs (one folder per partition). */
export class Topics {
  readonly #folder: string;
  readonly #store: StateStore;
  readonly #environment: LogEnvironment;
  readonly #topics = new Map<string, Topic>();
  /** Changes of the catalogue happen one after another. */
  readonly #changes = new Mutex();

  private constructor(dataDir: string, store: StateStore, environment: LogEnvironment) {
    this.#folder = join(dataDir, 'topics');
    this.#store = store;
    this.#environment = environment;
  }

  static async open(dataDir: string, store: StateStore, environment: LogEnvironment): Promise<Topics> {
    const topics = new Topics(dataDir, store, environment);
    await mkdir(topics.#folder, { recursive: true });
    const deleted = await topics.#removeDeleted();
    const saved = [...store.entries<SavedTopic>('topic')].map(({ key, value }) => {
      return { name: key[0] ?? '', ...value };
    });
    if (saved.length === 0 && (await topics.#hasRecords())) {
      const what = 'it is missing, or knows no topic, and there are records of some';
      await keepDamaged({ path: join(dataDir, 'state.log'), what }, environment.logger);
    }
    await Promise.all(
      saved.map(async ({ name, partitions, configs }) => {
        topics.#topics.set(name, {
          name,
          configs,
          partitions: await topics.#openLogs(name, 0, partitions, configs, (folder) => deleted.has(folder)),
        });
      }),
    );
    return topics;
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name);
  }

  all(): Topic[] {
    return [...this.#topics.values()];
  }

  log(name: string, partition: number): PartitionLog | undefined {
    return this.#topics.get(name)?.partitions[partition];
  }

  /** Returns why a topic can't be created, or NONE. Nothing is changed. */
  checkCreate(name: string, partitions: number, configs: ConfigValues): Outcome {
    if (!/^[a-zA-Z0-9._-]{1,249}$/.test(name) || name === '.' || name === '..') {
      return fail(
        ErrorCode.INVALID_TOPIC,
        `${name} is not a topic name: use 1 to 249 of a-z, A-Z, 0-9, ".", "_", "-".`,
      );
    }
    if (this.#topics.has(name)) return fail(ErrorCode.TOPIC_ALREADY_EXISTS, `Topic ${name} already exists.`);
    if (partitions < 1 || partitions > maxPartitions) {
      return fail(
        ErrorCode.INVALID_PARTITIONS,
        `A topic has 1 to ${maxPartitions} partitions, not ${partitions}.`,
      );
    }
    const refusal = refusalOf(configs);
    return refusal === undefined ? done : fail(ErrorCode.INVALID_CONFIG, refusal);
  }

  /** Resolves when the topic would survive a crash. */
  create(name: string, partitions: number, configs: ConfigValues = {}): Promise<Outcome> {
    return this.#changes.run(async () => {
      const check = this.checkCreate(name, partitions, configs);
      if (check.errorCode !== ErrorCode.NONE) return check;
      const logs = await this.#openLogs(name, 0, partitions, configs, () => true);
      await syncFolder(this.#folder);
      await this.#save(name, partitions, configs);
      this.#sayWhatIsIgnored(name, configs);
      this.#topics.set(name, { name, configs, partitions: logs });
      return done;
    });
  }

  /** Creates a topic that a client named for the first time; the name of an existing one is accepted. */
  async ensure(name: string, partitions: number, configs: ConfigValues = {}): Promise<number> {
    if (this.#topics.has(name)) return ErrorCode.NONE;
    const { errorCode } = await this.create(name, partitions, configs);
    return errorCode === ErrorCode.TOPIC_ALREADY_EXISTS ? ErrorCode.NONE : errorCode;
  }

  delete(name: string): Promise<Outcome> {
    return this.#changes.run(async () => {
      const topic = this.#topics.get(name);
      if (topic === undefined) return unknownTopic(name);
      this.#topics.delete(name);
      await Promise.all(topic.partitions.map((log) => log.close()));
      // Renamed first: a crash in between leaves an empty topic, never old records in a new topic of that
      // name.
      for (const log of topic.partitions) await rename(log.folder, `${log.folder}${deletedSuffix}`);
      await syncFolder(this.#folder);
      await this.#store.put([
        { key: ['topic', name], value: undefined },
        ...topic.partitions.map(({ partition }) => ({ key: logStartKey(name, partition), value: undefined })),
      ]);
      await this.#removeDeleted();
      return done;
    });
  }

  /** Adds partitions up to `count`. */
  grow(name: string, count: number, validateOnly: boolean): Promise<Outcome> {
    return this.#changes.run(async () => {
      const topic = this.#topics.get(name);
      if (topic === undefined) return unknownTopic(name);
      const has = topic.partitions.length;
      if (count <= has || count > maxPartitions) {
        return fail(
          ErrorCode.INVALID_PARTITIONS,
          `Topic ${name} has ${has} partitions: it can't be set to ${count}.`,
        );
      }
      if (validateOnly) return done;
      const added = await this.#openLogs(name, has, count, topic.configs, () => true);
      await syncFolder(this.#folder);
      await this.#save(name, count, topic.configs);
      topic.partitions.push(...added);
      return done;
    });
  }

  /** Replaces all settings of a topic. */
  configure(name: string, configs: ConfigValues, validateOnly: boolean): Promise<Outcome> {
    return this.#changes.run(async () => {
      const topic = this.#topics.get(name);
      if (topic === undefined) return unknownTopic(name);
      const refusal = refusalOf(configs);
      if (refusal !== undefined) return fail(ErrorCode.INVALID_CONFIG, refusal);
      if (validateOnly) return done;
      await this.#save(name, topic.partitions.length, configs);
      this.#sayWhatIsIgnored(name, configs);
      topic.configs = configs;
      for (const log of topic.partitions) log.config = logConfig(configs);
      return done;
    });
  }

  /**
   * Moves the log start, so that records below `offset` are never served again; the next retention run
   * removes their segments.
   */
  async deleteRecords(log: PartitionLog, offset: number): Promise<void> {
    if (offset <= log.logStart) return;
    log.logStart = offset;
    await this.#store.put([{ key: logStartKey(log.topic, log.partition), value: offset }]);
  }

  /** Of the producers in the logs; -1 without any. */
  highestProducerId(): number {
    const logs = this.all().flatMap(({ partitions }) => partitions);
    return Math.max(-1, ...logs.map(({ producers }) => producers.highestId()));
  }

  async close(): Promise<void> {
    await this.#changes.whenIdle();
    await Promise.all(this.all().flatMap(({ partitions }) => partitions.map((log) => log.close())));
  }

  /** @param isNew - whether a partition's folder may be empty or missing. */
  async #openLogs(
    name: string,
    from: number,
    to: number,
    configs: ConfigValues,
    isNew: (folder: string) => boolean,
  ): Promise<PartitionLog[]> {
    const config = logConfig(configs);
    const starts = new Map(
      [...this.#store.entries<number>('log-start')].map(({ key, value }) => [key.join('\0'), value]),
    );
    const committed = new Map<string, number>();
    for (const { key, value } of this.#store.entries<{ offset: number }>('offset')) {
      const place = key.slice(1).join('\0');
      committed.set(place, Math.max(value.offset, committed.get(place) ?? 0));
    }
    const numbers = Array.from({ length: to - from }, (_, index) => from + index);
    return await Promise.all(
      numbers.map((partition) => {
        const folder = `${name}-${partition}`;
        const place = [name, partition].join('\0');
        const start = starts.get(place) ?? 0;
        const isEmpty = isNew(folder);
        return PartitionLog.open(
          { topic: name, partition, folder: join(this.#folder, folder) },
          config,
          { start, end: start, committed: isEmpty ? 0 : committed.get(place), isNew: isEmpty },
          this.#environment,
        );
      }),
    );
  }

  #save(name: string, partitions: number, configs: ConfigValues): Promise<void> {
    return this.#store.put([{ key: ['topic', name], value: { partitions, configs } }]);
  }

  #sayWhatIsIgnored(topic: string, configs: ConfigValues): void {
    const settings = ignoredSettings(configs);
    if (settings.length === 0) return;
    this.#environment.logger.warn({ topic, settings }, 'These topic settings have no effect on this broker');
  }

  async #hasRecords(): Promise<boolean> {
    const names = await readdir(this.#folder, { recursive: true });
    const logs = names.filter((name) => name.endsWith('.log'));
    const files = await Promise.all(logs.map((name) => stat(join(this.#folder, name))));
    return files.some(({ size }) => size > 0);
  }

  /** @returns the partitions' folders whose deletion it completes. */
  async #removeDeleted(): Promise<ReadonlySet<string>> {
    const leftovers = (await readdir(this.#folder)).filter((name) => name.endsWith(deletedSuffix));
    await Promise.all(
      leftovers.map((name) => rm(join(this.#folder, name), { recursive: true, force: true })),
    );
    return new Set(leftovers.map((name) => name.slice(0, -deletedSuffix.length)));
  }
}

/** "~" can't be part of a topic's name. */
const deletedSuffix = '~deleted';

function logStartKey(topic: string, partition: number): string[] {
  return ['log-start', topic, String(partition)];
}

function fail(errorCode: number, message: string): Outcome {
  return { errorCode, message };
}

function unknownTopic(name: string): Outcome {
  return fail(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `There is no topic ${name}.`);
}
