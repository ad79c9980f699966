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
  unregister,
} from './commands.js';
import {
  applyModelEvent,
  type LifecycleState,
  modelEventKey,
  type ModelState,
  unknownModel,
} from './state.js';

const topic = systemTopics.models;

/** How long a command waits for the log, in milliseconds. */
const timeoutMs = 10_000;

export interface LifecycleOptions {
  streams: Streams;
  serde: Serde;
  logger: Logger;
  /** Names of the models in use from the start; see {@link ModelLifecycle.use}. */
  models?: readonly string[];
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/**
 * Lifecycle of the models: registered versions, champions and challengers. Reads the events on the topic
 * `millrace.models`, and appends events for commands. Any number of processes may do so.
 *
 * Every command resolves with the state of the model once this process has read back its event. It throws
 * a MillraceError: `MODEL_NOT_FOUND`, errors of the function of the same name in `commands.ts`, or a
 * retriable error while the log is unavailable. A command without effect adds no event.
 */
export class ModelLifecycle {
  readonly #options: LifecycleOptions;
  readonly #contract: Contract;
  readonly #schemaId: number;
  readonly #producer: LogProducer;
  readonly #now: () => number;
  readonly #models: Set<string>;
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
    this.#models = new Set(options.models);
  }

  /**
   * Reads the existing topic to its end, and keeps following it.
   *
   * @throws MillraceError (retriable) if the log or the schema registry is unavailable.
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

  /** Names of the models in use. */
  get models(): readonly string[] {
    return [...this.#models];
  }

  /** Adds a model to those in use. */
  use(model: string): void {
    this.#models.add(model);
  }

  /** Removes a model from those in use. */
  disuse(model: string): void {
    this.#models.delete(model);
  }

  /** State that this process has read so far. */
  get state(): LifecycleState {
    return this.#state;
  }

  /** Returns the state of a model. @throws MillraceError `MODEL_NOT_FOUND` if no pipeline uses it. */
  get(model: string): ModelState {
    if (!this.#models.has(model)) {
      const names = this.models.join(', ');
      throw new MillraceError('MODEL_NOT_FOUND', `There is no model '${model}'. There are: ${names}.`);
    }
    return this.#state.get(model) ?? unknownModel(model);
  }

  /** Calls `listener` with each new state. */
  onChange(listener: (state: LifecycleState) => void): void {
    this.#listeners.add(listener);
  }

  /** Whether changes can be read, and since when. */
  status(): ReturnType<Follower['status']> {
    return this.#follower?.status() ?? { ok: false, since: 0, lastError: 'closed' };
  }

  /** Resolves once this process has read all that is on the log now. */
  async catchUp(): Promise<void> {
    await this.#follower?.whenCaughtUp({ timeoutMs: timeoutMs });
  }

  /**
   * Registers shipped versions, and makes the first (newest) one the champion if there is none.
   */
  seed(model: string, shipped: readonly NewVersion[]): Promise<ModelState> {
    return this.#command(model, 'millrace/start', (state) => seed(state, shipped));
  }

  /** Registers a version. @param source - origin, stored with the version. */
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

  /** @param options - `force`: also if an alias names it. */
  unregister(
    model: string,
    version: string,
    options: { force?: boolean },
    source: string,
  ): Promise<ModelState> {
    return this.#command(model, source, (state) => unregister(state, version, options));
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#follower?.stop();
    await this.#producer.close();
  }

  /**
   * Runs one command at a time on the newest state. Of two concurrent processes, the later one wins.
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

  /** Applies records and skips invalid ones. @throws retriable errors, such as an unavailable registry. */
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
