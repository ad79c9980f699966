import { setTimeout as sleep } from 'node:timers/promises';
import { vi } from 'vitest';
import { patience } from './engines/chosen.js';

/**
 * Clients that send requests to pipelines all the time, one per pipeline, and note every answer that is not
 * 200.
 */
export class SteadyClients {
  readonly #stopping = new AbortController();
  readonly #refusals: string[] = [];
  readonly #counts = new Map<string, number>();
  readonly #running: Promise<unknown>;

  private constructor(http: string, pipelines: readonly string[], event: object) {
    this.#running = Promise.all(pipelines.map((name) => this.#send(http, name, event)));
  }

  static start(http: string, pipelines: readonly string[], event: object): SteadyClients {
    return new SteadyClients(http, pipelines, event);
  }

  /** Resolves when each client has had this many answers from now on. */
  async answered(count: number): Promise<void> {
    const before = new Map(this.#counts);
    await vi.waitFor(
      () => {
        for (const [name, now] of this.#counts)
          if (now < (before.get(name) ?? 0) + count) throw new Error(`${name} has had ${now} answers`);
      },
      { timeout: patience * 30_000, interval: 10 },
    );
  }

  /** Ends the clients. @returns what was not answered with 200. */
  async stop(): Promise<string[]> {
    this.#stopping.abort();
    await this.#running;
    return this.#refusals;
  }

  async #send(http: string, name: string, event: object): Promise<void> {
    this.#counts.set(name, 0);
    while (!this.#stopping.signal.aborted) {
      const answer = await fetch(`${http}/v1/pipelines/${name}/predict`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(event),
      }).catch((error: unknown) => new Response(String(error), { status: 599 }));
      const text = await answer.text();
      if (answer.status !== 200) this.#refusals.push(`${name}: ${answer.status} ${text}`);
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
      await sleep(2);
    }
  }
}
