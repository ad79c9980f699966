import { setTimeout as sleep } from 'node:timers/promises';
import type { Ledger } from './ledger.js';
import { pick } from './plan.js';

export interface HttpAnswer {
  status: number;
  body: unknown;
}

const retryMs = 100;
/** Longer than the API's own limit, which must apply first unless the process hangs. */
const timeoutMs = 8_000;

/** A client of several copies of the HTTP API, which retries a request until it is answered. */
export class HttpClient {
  readonly #copies: readonly string[];
  readonly #ledger: Ledger;

  constructor(copies: readonly string[], ledger: Ledger) {
    this.#copies = copies;
    this.#ledger = ledger;
  }

  /**
   * Posts to any copy, and retries on any copy when that one refuses for now or does not answer.
   *
   * @param onNoAnswer - called after each attempt without an answer; returns whether to retry.
   * @returns `undefined` when the client gave up.
   */
  async post(
    random: () => number,
    path: string,
    body: unknown,
    {
      headers = {},
      onNoAnswer = () => true,
    }: { headers?: Record<string, string>; onNoAnswer?: () => boolean } = {},
  ): Promise<HttpAnswer | undefined> {
    for (;;) {
      const answer = await this.#try(pick(this.#copies, random()), path, body, headers);
      if (answer !== undefined && answer.status !== 503) {
        if (answer.status >= 500 || answer.status === 429)
          this.#ledger.problems.push(
            `${path} answered ${answer.status}: ${JSON.stringify(answer.body).slice(0, 300)}`,
          );
        return answer;
      }
      this.#ledger.repeatedRequests++;
      if (!onNoAnswer()) return undefined;
      await sleep(retryMs);
    }
  }

  async #try(
    http: string,
    path: string,
    body: unknown,
    headers: Record<string, string>,
  ): Promise<HttpAnswer | undefined> {
    try {
      const response = await fetch(`${http}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(timeoutMs),
      });
      const text = await response.text();
      return { status: response.status, body: JSON.parse(text) };
    } catch {
      return undefined;
    }
  }
}
