import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { vi } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { retryForever } from '../../platform/retry.js';
import { packageRoot } from '../../platform/paths.js';
import { loadPipeline } from '../../processors/pipelines/load-pipelines.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import { cloudEventHeaders } from '../../streams/cloud-events.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { StreamRecord } from '../../streams/records.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { pipelineTopics, pipelineTopicSpecs, scoringGroup } from '../../streams/topics.js';
import { freePorts, killPrograms, type Program, startProgram, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';

const pipeline = 'credit-default';
const topics = pipelineTopics(pipeline);

/** One copy of `millrace process`. */
export interface ScorerCopy {
  program: Program;
  http: string;
}

/** How long scoring paused during an action, milliseconds between two predictions on the log. */
export interface Stalls {
  /** Longest time without a prediction for any event. */
  all: number;
  /** By partition of the events: longest time without a prediction for it. */
  byPartition: number[];
}

export interface FleetOptions {
  brokers: string[];
  partitions: number;
  /** Of each scorer. */
  settings?: Record<string, string>;
}

/**
 * Copies of the scorer on a given Kafka, under a steady load: an event to each partition, 50 times a second.
 * All predictions are read as they are written, with the time at which the broker appended them.
 */
export class ScoringFleet {
  readonly #options: FleetOptions;
  readonly #folder: string;
  readonly #registryUrl: string;
  readonly #streams: Streams;
  readonly #serde: Serde;
  readonly #predictions: { eventId: string; partition: number; at: number }[] = [];
  readonly #sent: string[] = [];
  readonly #stopLoad = new AbortController();
  #load: Promise<void> = Promise.resolve();

  private constructor(options: FleetOptions, folder: string, registryUrl: string) {
    this.#options = options;
    this.#folder = folder;
    this.#registryUrl = registryUrl;
    this.#streams = createStreams({ brokers: options.brokers, clientId: 'fleet', logger: silentLogger });
    this.#serde = new Serde(new SchemaRegistryClient({ url: registryUrl }));
  }

  static async open(options: FleetOptions): Promise<ScoringFleet> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-fleet-'));
    const ports = await freePorts('registry');
    const registry = startProgram('tests/system/engines/schema-registry.js', [], {
      KAFKA_BROKERS: options.brokers.join(','),
      SCHEMA_REGISTRY_PORT: String(ports.registry),
    });
    const registryUrl = `http://127.0.0.1:${ports.registry}`;
    await vi.waitFor(
      async () => {
        if (registry.hasExited()) throw new Error(registry.output());
        await fetch(`${registryUrl}/subjects`);
      },
      { timeout: 20_000, interval: 50 },
    );
    const fleet = new ScoringFleet(options, folder, registryUrl);
    await fleet.#createTopics();
    return fleet;
  }

  /** Starts a copy; resolves when it is a member of its groups. */
  async startScorer(): Promise<ScorerCopy> {
    const { PORT } = await freePorts('PORT');
    const program = startProgram('cli/main.js', ['process'], {
      PORT: String(PORT),
      KAFKA_BROKERS: this.#options.brokers.join(','),
      SCHEMA_REGISTRY_URL: this.#registryUrl,
      // This role does not use it.
      CLICKHOUSE_URL: 'http://127.0.0.1:9',
      DATA_DIR: join(this.#folder, 'millrace'),
      TOPIC_PARTITIONS: String(this.#options.partitions),
      ...this.#options.settings,
    });
    const copy = { program, http: `http://127.0.0.1:${PORT}` };
    await whenReady(program, copy.http);
    return copy;
  }

  /** Starts the load, and the reading of its predictions. */
  async startLoad(): Promise<void> {
    const { type } = loadContract('shared', 'prediction');
    await this.#streams.consume({
      groupId: `fleet-${randomUUID()}`,
      topics: [topics.predictions],
      handle: async (records: StreamRecord[]) => {
        for (const { value, timestamp } of records) {
          const { event_id: eventId, partition } = (await this.#serde.decode(value, type)) as Prediction;
          this.#predictions.push({ eventId, partition, at: timestamp });
        }
      },
    });
    const producer = await this.#streams.createProducer();
    this.#load = this.#send(producer);
    await this.whenCaughtUp();
  }

  /** Runs an action, waits until scoring has caught up, and returns how long it paused meanwhile. */
  async measure(action: () => Promise<unknown>): Promise<Stalls> {
    const from = Date.now();
    await action();
    await this.whenCaughtUp();
    const to = Date.now();
    await this.#whenRead(this.#sent.length);
    const within = this.#predictions.filter(({ at }) => at >= from - 500 && at <= to);
    const longest = (times: number[]): number => {
      const sorted = times.toSorted((a, b) => a - b);
      return Math.max(...sorted.map((at, index) => at - (sorted[index - 1] ?? at)));
    };
    return {
      all: longest(within.map(({ at }) => at)),
      byPartition: Array.from({ length: this.#options.partitions }, (_, each) =>
        longest(within.filter(({ partition }) => partition === each).map(({ at }) => at)),
      ),
    };
  }

  /** Waits until no partition has more than half a second's events unscored. */
  async whenCaughtUp(): Promise<void> {
    await vi.waitFor(
      async () => {
        const lags = await this.#streams.lag(scoringGroup(pipeline), [topics.events]);
        const behind = lags.filter(({ lag, committed }) => lag > 25 || committed < 1);
        if (behind.length > 0) throw new Error(`behind: ${JSON.stringify(behind)}`);
      },
      { timeout: 90_000, interval: 100 },
    );
  }

  /** Stops the load. Returns the number of events, and the ids that do not have exactly one prediction. */
  async stopLoad(): Promise<{ events: number; wrong: string[] }> {
    this.#stopLoad.abort();
    await this.#load;
    await this.#whenRead(this.#sent.length);
    const counts = new Map<string, number>();
    for (const { eventId } of this.#predictions) counts.set(eventId, (counts.get(eventId) ?? 0) + 1);
    const wrong = this.#sent.filter((id) => counts.get(id) !== 1);
    return { events: this.#sent.length, wrong };
  }

  async close(): Promise<void> {
    this.#stopLoad.abort();
    await this.#load.catch(() => undefined);
    await this.#streams.close();
    await killPrograms();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #createTopics(): Promise<void> {
    const appendTime = { 'message.timestamp.type': 'LogAppendTime' };
    const specs = pipelineTopicSpecs(pipeline, this.#options.partitions).map((spec) =>
      spec.name === topics.predictions ? { ...spec, config: { ...spec.config, ...appendTime } } : spec,
    );
    await this.#streams.createTopics(specs);
  }

  async #send(producer: LogProducer): Promise<void> {
    const sample = (await loadPipeline(packageRoot, pipeline)).pipeline.sample;
    if (sample === undefined) throw new Error(`${pipeline} makes no samples`);
    const { type } = loadContract(pipeline, 'event');
    const register = () => this.#serde.register(topics.events, type);
    const schemaId = await retryForever('Registering', { logger: silentLogger }, register);
    const value = this.#serde.encode(schemaId, type, sample(seededRandom(5)));
    while (!this.#stopLoad.signal.aborted) {
      const records = Array.from({ length: this.#options.partitions }, (_, partition) => {
        const id = randomUUID();
        const time = new Date().toISOString();
        const headers = cloudEventHeaders({ id, source: 'fleet', type: 'millrace.event', time });
        return { id, record: { topic: topics.events, key: id, partition, value, headers } };
      });
      await producer.send(records.map(({ record }) => record));
      this.#sent.push(...records.map(({ id }) => id));
      await sleep(20);
    }
  }

  async #whenRead(count: number): Promise<void> {
    await vi.waitFor(
      () => {
        if (this.#predictions.length < count)
          throw new Error(`${this.#predictions.length} predictions of ${count} events`);
      },
      { timeout: 60_000, interval: 50 },
    );
  }
}
