import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import { Mutex } from '../../platform/mutex.js';
import { type Contract, loadContract } from '../../schemas/contracts.js';
import type { ModelEvent } from '../../schemas/types.js';
import type { Follower } from '../../streams/topic-tail.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { systemTopics } from '../../streams/topics.js';
import {
  challenge,
  type ChallengerSettings,
  clearChallenger,
  type EventDraft,
  type NewVersion,
  promote,
  register,
  rollback,
  seed,
} from './commands.js';
import {
  applyModelEvent,
  type LifecycleState,
  modelEventKey,
  type ModelState,
  unknownModel,
} from './state.js';

const topic = systemTopics.models;

/** How long a command waits for the log, milliseconds. */
const timeoutMs = 10_000;

export interface LifecycleOptions {
  streams: Streams;
  serde: Serde;
  logger: Logger;
  /** Names of the models that there can be. */
  models: readonly string[];
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/**
 * The lives of the models: which versions are registered, and which are champion and challenger. All of it is
 * events on the topic `millrace.models`, which this follows, and which its commands add to. Any number of
 * processes may have one.
 *
 * Every command resolves with the state of the model in which this process sees what it did, and throws a
 * MillraceError: `MODEL_NOT_FOUND`, what the function of the same name in `commands.ts` throws, or,
 * retriable, that the log can't be reached. What is so already is no error and adds no event.
 */
export class ModelLifecycle {
  readonly #options: LifecycleOptions;
  readonly #contract: Contract;
  readonly #schemaId: number;
  readonly #producer: LogProducer;
  readonly #now: () => number;
  readonly #listeners = new Set<(state: LifecycleState) => void>();
  #follower: Follower | undefined;
  #state: LifecycleState = new Map();
  readonly #commands = new Mutex();

  private constructor(
    options: LifecycleOptions,
    contract: Contract,
    schemaId: number,
    producer: LogProducer,
  ) {
    this.#options = options;
    this.#contract = contract;
    this.#schemaId = schemaId;
    this.#producer = producer;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Reads the topic, which has to exist, to its end, and goes on following it.
   *
   * @throws MillraceError with `retriable` when log or schema registry can't be reached.
   */
  static async open(options: LifecycleOptions): Promise<ModelLifecycle> {
    const contract = loadContract('shared', 'model-event');
    const schemaId = await options.serde.register(topic, contract.type);
    const producer = await options.streams.createProducer();
    const lifecycle = new ModelLifecycle(options, contract, schemaId, producer);
    const handle = (records: StreamRecord[]): Promise<void> => lifecycle.#take(records);
    lifecycle.#follower = await options.streams.follow({ topics: [topic], handle });
    try {
      await lifecycle.catchUp();
      return lifecycle;
    } catch (error) {
      await lifecycle.close();
      throw error;
    }
  }

  /** Names of the models that there can be. */
  get models(): readonly string[] {
    return this.#options.models;
  }

  /** What this process has seen so far. */
  get state(): LifecycleState {
    return this.#state;
  }

  /** A model's state. @throws MillraceError `MODEL_NOT_FOUND` for a name that no pipeline uses. */
  get(model: string): ModelState {
    if (!this.#options.models.includes(model)) {
      const names = this.#options.models.join(', ');
      throw new MillraceError('MODEL_NOT_FOUND', `There is no model '${model}'. There are: ${names}.`);
    }
    return this.#state.get(model) ?? unknownModel(model);
  }

  /** Calls `listener` with each new state. */
  onChange(listener: (state: LifecycleState) => void): void {
    this.#listeners.add(listener);
  }

  /** Whether changes are seen at the moment, and since when it has been so. */
  status(): ReturnType<Follower['status']> {
    return this.#follower?.status() ?? { ok: false, since: 0, lastError: 'closed' };
  }

  /** Resolves once this process has seen all that is on the log now. */
  async catchUp(): Promise<void> {
    await this.#follower?.whenCaughtUp({ timeoutMs: timeoutMs });
  }

  /**
   * Registers what ships and, where there is no champion yet, makes the first of `shipped` (the newest) that.
   */
  seed(model: string, shipped: readonly NewVersion[]): Promise<ModelState> {
    return this.#command(model, 'millrace/start', (state) => seed(state, shipped));
  }

  /** @param source - what registers it: kept with the version. */
  register(model: string, version: NewVersion, source: string): Promise<ModelState> {
    return this.#command(model, source, (state) => register(state, version));
  }

  promote(model: string, version: string, source: string): Promise<ModelState> {
    return this.#command(model, source, (state) => promote(state, version));
  }

  rollback(model: string, source: string): Promise<ModelState> {
    return this.#command(model, source, rollback);
  }

  challenge(
    model: string,
    version: string,
    settings: ChallengerSettings,
    source: string,
  ): Promise<ModelState> {
    return this.#command(model, source, (state) => challenge(state, version, settings));
  }

  clearChallenger(model: string, source: string): Promise<ModelState> {
    return this.#command(model, source, clearChallenger);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#follower?.stop();
    await this.#producer.close();
  }

  /**
   * One command at a time, each on the newest state: of two processes at once the later one has the last
   * word.
   */
  #command(model: string, source: string, decide: (state: ModelState) => EventDraft[]): Promise<ModelState> {
    return this.#commands.run(async () => {
      this.get(model);
      await this.catchUp();
      const drafts = decide(this.get(model));
      const at = this.#now();
      const records = drafts.map((draft) => this.#toRecord({ ...draft, model, source, at }));
      await this.#producer.send(records, { timeoutMs: timeoutMs });
      if (records.length > 0) await this.catchUp();
      return this.get(model);
    });
  }

  #toRecord(event: ModelEvent): NewRecord {
    const value = this.#options.serde.encode(this.#schemaId, this.#contract.type, event);
    return { topic, key: modelEventKey(event), value, timestamp: event.at };
  }

  async #take(records: StreamRecord[]): Promise<void> {
    let state = this.#state;
    for (const { key, value, offset } of records) {
      if (key === null || value === null) continue;
      const event = await this.#read(value, offset);
      if (event !== undefined) state = applyModelEvent(state, event, { key: key.toString(), offset });
    }
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }

  /** @throws what may pass, such as a registry that is down; what is no model event is passed over. */
  async #read(value: Buffer, offset: number): Promise<ModelEvent | undefined> {
    try {
      return (await this.#options.serde.decode(value, this.#contract.type)) as ModelEvent;
    } catch (error) {
      if (!(error instanceof MillraceError) || error.retriable) throw error;
      this.#options.logger.warn(
        { err: error, topic, offset },
        'a record is no model event; it is passed over',
      );
      return undefined;
    }
  }
}
