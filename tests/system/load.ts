import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../platform/paths.js';
import { loadPipeline } from '../../processors/pipelines/load-pipelines.js';

/** The part of a `predict` answer that the results must contain. */
export interface AnsweredPrediction {
  prediction_id: string;
  score: number;
}

interface Answer {
  status: number;
  body: unknown;
  retryAfter: string | null;
}

export interface LoadOptions {
  /** Base address of the HTTP API. */
  http: string;
  random: () => number;
  /** Number of different clients in the events. Default 200. */
  clients?: number;
}

const retryMs = 50;

/**
 * A client of the HTTP API that retries every request until it is answered, as a careful client would, and
 * keeps a list of the acknowledged ones. Any answer but success and "not now" is a failure.
 */
export class Load {
  readonly clients: object[];
  /** Index of the client in each acknowledged event, by event id. */
  readonly accepted = new Map<string, number>();
  readonly predicted = new Map<string, AnsweredPrediction>();
  /** Event ids chosen by the client: acknowledged or not, they may be on the log. */
  readonly chosen = new Map<string, number>();
  /** Events without ids in requests without success: each may be on the log under an unknown id. */
  unanswered = 0;
  /** Requests that were retried. */
  retries = 0;
  /** The "not now" answers, with their durations. */
  readonly refusals: (Answer & { ms: number })[] = [];
  readonly #http: string;
  readonly #random: () => number;

  private constructor({ http, random }: LoadOptions, clients: object[]) {
    this.#http = http;
    this.#random = random;
    this.clients = clients;
  }

  static async create(options: LoadOptions): Promise<Load> {
    const { sample } = (await loadPipeline(packageRoot, 'credit-default')).pipeline;
    if (sample === undefined) throw new Error('credit-default makes no samples');
    return new Load(
      options,
      Array.from({ length: options.clients ?? 200 }, () => sample(options.random)),
    );
  }

  /** Sends a chunk of events: with their own ids, under an Idempotency-Key, or without ids. */
  async postEvents(count: number): Promise<void> {
    const picks = Array.from({ length: count }, () => this.#pick());
    const way = ['own ids', 'key', 'none'][Math.floor(this.#random() * 3)];
    const bodies = picks.map((pick) => {
      if (way !== 'own ids') return this.clients[pick];
      const event_id = randomUUID();
      this.chosen.set(event_id, pick);
      return { ...this.clients[pick], event_id };
    });
    const headers: Record<string, string> = way === 'key' ? { 'idempotency-key': randomUUID() } : {};
    const answer = await this.#untilAnswered('events', bodies, headers, () => {
      if (way !== 'own ids') this.unanswered += count;
    });
    const { event_ids: ids } = answer as { event_ids: string[] };
    if (ids.length !== count) throw new Error(`${ids.length} of ${count} events were accepted`);
    for (const [index, id] of ids.entries()) this.accepted.set(id, picks[index] ?? -1);
  }

  /** Predicts for one client; sometimes for an event that was sent before. */
  async predict(): Promise<void> {
    const [known] = this.#random() < 0.1 ? this.chosen : [];
    const [event_id, pick] = known ?? [randomUUID(), this.#pick()];
    this.chosen.set(event_id, pick);
    const answer = await this.#untilAnswered('predict', { ...this.clients[pick], event_id });
    const { prediction_id, score } = answer as AnsweredPrediction;
    const before = this.predicted.get(event_id);
    if (before !== undefined && before.score !== score) throw new Error(`${event_id} got two scores`);
    this.predicted.set(event_id, { prediction_id, score });
    this.accepted.set(event_id, pick);
  }

  /** Predicts for every client, under the ids `reference-<index>`. */
  async predictAll(): Promise<AnsweredPrediction[]> {
    const bodies = this.clients.map((client, index) => {
      this.accepted.set(`reference-${index}`, index);
      return { ...client, event_id: `reference-${index}` };
    });
    const { predictions } = (await this.#untilAnswered('predict', bodies)) as {
      predictions: AnsweredPrediction[];
    };
    return predictions;
  }

  /** Sends a mix of requests repeatedly until it is stopped; resolves once all are answered. */
  start(): { stop: () => Promise<void> } {
    const stopping = new AbortController();
    const run = async (): Promise<void> => {
      while (!stopping.signal.aborted) {
        await this.postEvents(1 + Math.floor(this.#random() * 20));
        await this.predict();
        await sleep(10);
      }
    };
    const running = Promise.all([run(), run()]);
    // Awaited by `stop`: until then a failure must not end the process.
    running.catch(() => undefined);
    return {
      stop: async () => {
        stopping.abort();
        await running;
      },
    };
  }

  #pick(): number {
    return Math.floor(this.#random() * this.clients.length);
  }

  async #untilAnswered(
    route: 'events' | 'predict',
    body: unknown,
    headers: Record<string, string> = {},
    onRetry: () => void = () => undefined,
  ): Promise<unknown> {
    for (;;) {
      const startedAt = performance.now();
      const answer = await this.#send(route, body, headers);
      if (answer?.status === 200 || answer?.status === 202) return answer.body;
      if (answer !== undefined && answer.status !== 503)
        throw new Error(`${route} answered ${answer.status}: ${JSON.stringify(answer.body).slice(0, 500)}`);
      if (answer !== undefined) this.refusals.push({ ...answer, ms: performance.now() - startedAt });
      this.retries++;
      onRetry();
      await sleep(retryMs);
    }
  }

  /** Returns `undefined` when the connection broke. */
  async #send(route: string, body: unknown, headers: Record<string, string>): Promise<Answer | undefined> {
    try {
      const response = await fetch(`${this.#http}/v1/pipelines/credit-default/${route}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      return {
        status: response.status,
        body: JSON.parse(text),
        retryAfter: response.headers.get('retry-after'),
      };
    } catch {
      return undefined;
    }
  }
}
