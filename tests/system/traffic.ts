import { randomUUID } from 'node:crypto';
import { setInterval as ticks } from 'node:timers/promises';
import { vi } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { loadPipeline } from '../../processors/pipelines/load-pipelines.js';
import { loadContract } from '../../schemas/contracts.js';
import { cloudEventHeaders } from '../../streams/cloud-events.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { Serde } from '../../streams/serde.js';
import { patience } from './engines/chosen.js';
import { seededRandom } from './seeded-random.js';

/** An accepted event, whichever way it was sent. */
export interface AcceptedEvent {
  id: string;
  fields: Record<string, number>;
  /** Of its record. */
  key: string;
  /** Before it was sent, and once it was acknowledged: milliseconds since 1970. */
  sentAt: number;
  acceptedAt: number;
  /** The answer of `predict`. */
  answer?: AnsweredEvent;
}

interface AnsweredEvent {
  event_id: string;
  prediction_id: string;
}

const topic = 'credit-default.events';
const contract = loadContract('credit-default', 'event');
const tickMs = 20;
/** In each tick: at most 500 events a second in all. */
const perTick = { events: 6, predict: 2, kafka: 2 };
const maxUnderWay = 100;
const clients = 40;

/**
 * Sends `credit-default` events at an even pace, unless the machine can't keep up: to `events`, to `predict`,
 * and as any Kafka client, with a client's key.
 */
export class Traffic {
  readonly accepted: AcceptedEvent[] = [];
  readonly #http: string;
  readonly #producer: LogProducer;
  readonly #encoding: { serde: Serde; schemaId: number };
  readonly #sample: () => Record<string, number>;
  readonly #stopping = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  readonly #failures: unknown[] = [];
  readonly #running: Promise<void>;
  #sent = 0;

  private constructor(
    http: string,
    producer: LogProducer,
    encoding: { serde: Serde; schemaId: number },
    sample: () => Record<string, number>,
  ) {
    this.#http = http;
    this.#producer = producer;
    this.#encoding = encoding;
    this.#sample = sample;
    this.#running = this.#run();
  }

  static async start(http: string, producer: LogProducer, serde: Serde): Promise<Traffic> {
    const sample = (await loadPipeline(packageRoot, 'credit-default')).pipeline.sample;
    if (sample === undefined) throw new Error('credit-default makes no samples');
    const random = seededRandom(4);
    const schemaId = await serde.register(topic, contract.type);
    return new Traffic(http, producer, { serde, schemaId }, () => sample(random) as Record<string, number>);
  }

  /** Waits until this number of events sent after a time are accepted. */
  async since(time: number, count: number): Promise<void> {
    await vi.waitFor(
      () => {
        if (this.#failures.length > 0) throw this.#failures[0];
        if (this.accepted.filter(({ sentAt }) => sentAt > time).length < count) throw new Error('not yet');
      },
      { timeout: patience * 20_000, interval: 20 },
    );
  }

  /** Stops it. @throws the first failure, if any event was not accepted. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await Promise.all(this.#underWay);
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  async #run(): Promise<void> {
    try {
      for await (const _ of ticks(tickMs, undefined, { signal: this.#stopping.signal })) {
        if (this.#underWay.size > maxUnderWay) continue;
        this.#begin(this.#postEvents());
        for (let n = 0; n < perTick.predict; n++) this.#begin(this.#predict());
        this.#begin(this.#produce());
      }
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#failures.push(error);
    }
  }

  #begin(sending: Promise<void>): void {
    const done: Promise<void> = sending
      .catch((error: unknown) => void this.#failures.push(error))
      .finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
  }

  #make(key?: string): AcceptedEvent {
    const id = randomUUID();
    return { id, fields: this.#sample(), key: key ?? id, sentAt: Date.now(), acceptedAt: 0 };
  }

  #accept(events: readonly AcceptedEvent[]): void {
    for (const event of events) this.accepted.push(Object.assign(event, { acceptedAt: Date.now() }));
  }

  async #postEvents(): Promise<void> {
    const events = Array.from({ length: perTick.events }, () => this.#make());
    await this.#post(
      'events',
      events.map(({ id, fields }) => ({ ...fields, event_id: id })),
    );
    this.#accept(events);
  }

  async #predict(): Promise<void> {
    const event = this.#make();
    // Without an id: a client's own id would be looked up in ClickHouse first.
    const answer = (await this.#post('predict', event.fields)) as AnsweredEvent;
    this.#accept([{ ...event, id: answer.event_id, key: answer.event_id, answer }]);
  }

  async #produce(): Promise<void> {
    const events = Array.from({ length: perTick.kafka }, () =>
      this.#make(`client-${this.#sent++ % clients}`),
    );
    const { serde, schemaId } = this.#encoding;
    const records = events.map(({ id, key, fields, sentAt }) => ({
      topic,
      key,
      value: serde.encode(schemaId, contract.type, fields),
      headers: cloudEventHeaders({ id, source: 'test', type: 'test', time: new Date(sentAt).toISOString() }),
    }));
    await this.#producer.send(records);
    this.#accept(events);
  }

  async #post(route: string, body: unknown): Promise<unknown> {
    const response = await fetch(`${this.#http}/v1/pipelines/credit-default/${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${route} answered ${response.status}: ${text}`);
    return JSON.parse(text);
  }
}
