import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord } from '../../streams/records.js';
import { seededRandom } from '../system/seeded-random.js';
import { HttpClient } from './http-client.js';
import type { Answer, Ledger, SentEvent } from './ledger.js';
import { type LogWriter, type Spoilt, spoiltRecords } from './log-writer.js';
import { pick } from './plan.js';
import type { Samples } from './samples.js';

/** Number of concurrent clients of each kind, and how long each rests after an answer, milliseconds. */
const senders = {
  events: { count: 2, restMs: 90 },
  predict: { count: 4, restMs: 35 },
  log: { count: 2, restMs: 90 },
};
/** Maximum unacknowledged requests of one sender to the log. */
const maxInFlight = 4;
const keysOfSender = 10;
/** Factor of the rest times once enough was sent. */
const slowness = 10;
const shares = { repeated: 0.05, bad: 0.03, givesUp: 0.1 };

type Event = Omit<SentEvent, 'accepted'>;

/**
 * Sends events of every pipeline in every way until it is stopped: to `events` and to `predict` of any copy,
 * and as a Kafka client, with keys. The seed determines each sender's decisions.
 */
export class Traffic {
  readonly #samples: Samples;
  readonly #ledger: Ledger;
  readonly #http: HttpClient;
  readonly #writer: LogWriter;
  readonly #seed: number;
  readonly #stopping = new AbortController();
  /** Valid events with their own ids, to be sent again. */
  readonly #recent: Event[] = [];
  #running: Promise<unknown> = Promise.resolve();
  #plenty = Number.POSITIVE_INFINITY;
  #sent = 0;

  constructor(options: {
    seed: number;
    samples: Samples;
    ledger: Ledger;
    copies: string[];
    writer: LogWriter;
  }) {
    this.#seed = options.seed;
    this.#samples = options.samples;
    this.#ledger = options.ledger;
    this.#writer = options.writer;
    this.#http = new HttpClient(options.copies, options.ledger);
  }

  start(): void {
    const loops = Object.entries(senders).flatMap(([kind, { count, restMs }]) =>
      Array.from({ length: count }, (_, index) => {
        const name = `${kind}-${index + 1}`;
        const random = seededRandom(this.#seed * 31 + hashOf(name));
        if (kind === 'log') return this.#writeToLog(name, random, restMs);
        const send = kind === 'events' ? () => this.#postEvents(random) : () => this.#predict(random);
        return this.#repeat(send, restMs);
      }),
    );
    this.#running = Promise.all(loops);
    // Awaited by `stop`: until then a failure must not end the process.
    this.#running.catch(() => undefined);
  }

  /**
   * From this number of accepted events on, little is sent: a slow machine is not flooded while it recovers.
   */
  slowDownAfter(events: number): void {
    this.#plenty = this.#ledger.accepted + events;
  }

  #rest(restMs: number): Promise<void> {
    return sleep(this.#ledger.accepted < this.#plenty ? restMs : restMs * slowness);
  }

  /** Resolves once everything is answered. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** Returns an event with a unique id. */
  make(pipeline: string, random: () => number, key?: string): Event {
    const id = this.#newId();
    return { id, pipeline, key: key ?? id, fields: this.#samples.good(pipeline, random) };
  }

  async #repeat(send: () => Promise<void>, restMs: number): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await send();
      await this.#rest(restMs);
    }
  }

  #newId(): string {
    return `${this.#seed}-${this.#sent++}`;
  }

  /** Returns a new event, or one that was sent before in any way. */
  #next(pipeline: string, random: () => number): Event {
    const before = random() < shares.repeated ? pickOrNone(this.#recent, random()) : undefined;
    if (before !== undefined && before.pipeline === pipeline) return before;
    const event = this.make(pipeline, random);
    this.#remember(event);
    return event;
  }

  #remember(event: Event): void {
    this.#recent.push(event);
    if (this.#recent.length > 2_000) this.#recent.splice(0, 1_000);
  }

  async #postEvents(random: () => number): Promise<void> {
    const pipeline = this.#samples.pipeline(random);
    const way = pick(['own ids', 'key', 'none'] as const, random());
    const items = Array.from({ length: 1 + Math.floor(random() * 25) }, () =>
      this.#item(pipeline, way, random),
    );
    const good = items.filter(({ isGood }) => isGood);
    if (way === 'own ids') for (const { event } of good) this.#ledger.send(event);
    const answer = await this.#http.post(
      random,
      `/v1/pipelines/${pipeline}/events`,
      items.map(({ body }) => body),
      {
        headers: way === 'key' ? { 'idempotency-key': this.#newId() } : {},
        onNoAnswer: () => {
          if (way === 'none') for (const { event } of good) this.#ledger.noAnswer(pipeline, event.fields);
          const goesOn = random() >= shares.givesUp;
          if (way === 'key' && !goesOn)
            for (const { event } of good) this.#ledger.noAnswer(pipeline, event.fields);
          return goesOn;
        },
      },
    );
    if (answer === undefined) return;
    const { event_ids: ids = [], rejected = [] } = answer.body as {
      event_ids?: string[];
      rejected?: unknown[];
    };
    if (ids.length !== good.length || rejected.length !== items.length - good.length) {
      this.#ledger.problems.push(
        `events answered ${answer.status}: ${JSON.stringify(answer.body).slice(0, 300)}`,
      );
      return;
    }
    this.#ledger.refused += rejected.length;
    good.forEach(({ event }, index) => {
      const id = ids[index] ?? '';
      if (way === 'own ids' && id !== event.id)
        this.#ledger.problems.push(`${event.id} was accepted under another id, ${id}`);
      this.#ledger.accept(this.#ledger.send({ ...event, id, key: id }));
    });
  }

  #item(
    pipeline: string,
    way: string,
    random: () => number,
  ): { event: Event; body: object; isGood: boolean } {
    const isGood = random() >= shares.bad;
    const event = way === 'own ids' && isGood ? this.#next(pipeline, random) : this.make(pipeline, random);
    const fields = isGood ? event.fields : this.#samples.bad(pipeline, random);
    return { event, isGood, body: way === 'own ids' ? { ...fields, event_id: event.id } : fields };
  }

  async #predict(random: () => number): Promise<void> {
    const pipeline = this.#samples.pipeline(random);
    const path = `/v1/pipelines/${pipeline}/predict`;
    if (random() < shares.bad) {
      const answer = await this.#http.post(random, path, this.#samples.bad(pipeline, random));
      if (answer?.status === 422) this.#ledger.refused++;
      else this.#ledger.problems.push(`a bad event was answered ${JSON.stringify(answer).slice(0, 300)}`);
      return;
    }
    const hasId = random() < 0.3;
    const event = hasId ? this.#next(pipeline, random) : this.make(pipeline, random);
    if (hasId) this.#ledger.send(event);
    const body = hasId ? { ...event.fields, event_id: event.id } : event.fields;
    const onNoAnswer = (): boolean => {
      if (!hasId) this.#ledger.noAnswer(pipeline, event.fields);
      return random() >= shares.givesUp;
    };
    const answer = await this.#http.post(random, path, body, { onNoAnswer });
    if (answer === undefined) return;
    if (answer.status !== 200) {
      this.#ledger.problems.push(`predict answered ${JSON.stringify(answer).slice(0, 300)} for ${event.id}`);
      return;
    }
    const { event_id: id, prediction_id, score } = answer.body as Answer;
    this.#ledger.accept(this.#ledger.send({ ...event, id, key: id }));
    this.#ledger.answers.push({ event_id: id, prediction_id, score });
  }

  async #writeToLog(name: string, random: () => number, restMs: number): Promise<void> {
    const producer = await this.#writer.producer();
    const underWay = new Set<Promise<void>>();
    const sent: { event: Event; record: NewRecord }[] = [];
    while (!this.#stopping.signal.aborted) {
      if (underWay.size < maxInFlight) {
        const batch = Array.from({ length: 1 + Math.floor(random() * 25) }, () =>
          this.#entry(name, random, sent),
        );
        const sending: Promise<void> = this.#write(producer, batch).finally(() => underWay.delete(sending));
        underWay.add(sending);
      }
      await this.#rest(restMs);
    }
    await Promise.all(underWay);
    await producer.close();
  }

  /** Returns an event's record, or an earlier one to be written again. */
  #entry(
    name: string,
    random: () => number,
    sent: { event: Event; record: NewRecord }[],
  ): { event: Event; record: NewRecord } {
    const before = random() < shares.repeated ? pickOrNone(sent, random()) : undefined;
    // Two sends must not share the producer's objects.
    if (before !== undefined) return { event: before.event, record: { ...before.record } };
    const pipeline = this.#samples.pipeline(random);
    const key = `${name}-${Math.floor(random() * keysOfSender)}`;
    const good = this.make(pipeline, random, key);
    if (random() >= shares.bad) {
      this.#remember(good);
      const entry = { event: good, record: this.#writer.record(good) };
      sent.push(entry);
      return entry;
    }
    const spoilt = pick(Object.keys(spoiltRecords) as Spoilt[], random());
    const fields = spoilt === 'out of range' ? this.#samples.bad(pipeline, random) : good.fields;
    const event = { ...good, fields, reason: spoiltRecords[spoilt] };
    const entry = { event, record: this.#writer.record(event, spoilt) };
    sent.push(entry);
    return entry;
  }

  async #write(producer: LogProducer, entries: { event: Event; record: NewRecord }[]): Promise<void> {
    const events = entries.map(({ event }) => this.#ledger.send(event));
    for (const { pipeline, key, id } of events) this.#ledger.follows(pipeline, key, id);
    await producer.send(entries.map(({ record }) => record));
    for (const event of events) this.#ledger.accept(event);
  }
}

function pickOrNone<T>(items: readonly T[], at: number): T | undefined {
  return items[Math.floor(at * items.length)];
}

function hashOf(text: string): number {
  return createHash('sha1').update(text).digest().readInt32BE();
}
