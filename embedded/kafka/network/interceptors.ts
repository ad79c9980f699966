export interface InterceptedRequest {
  apiKey: number;
  version: number;
  correlationId: number;
  clientId: string;
  /** The decoded request, as the API's module declares it. */
  body: unknown;
}

/**
 * What becomes of an intercepted request: nothing special (`undefined`), the given error code as its answer
 * without taking effect, the connection dropped before it takes effect (`drop`), or dropped instead of the
 * answer (`drop-answer`), so that the client can't know what happened.
 */
export type Verdict = undefined | { errorCode: number } | 'drop' | 'drop-answer';

/** Observes requests, delays them (by the promise it returns), or decides their fate. */
export type Interceptor = (request: InterceptedRequest) => Verdict | void | Promise<Verdict | void>;

/** Fault injection by API key, for tests of what clients do when a broker misbehaves. */
export class Interceptors {
  readonly #byKey = new Map<number, Set<Interceptor>>();

  /** Every request of this API passes `interceptor` until the returned function is called. */
  add(apiKey: number, interceptor: Interceptor): () => void {
    const all = this.#byKey.get(apiKey) ?? new Set();
    this.#byKey.set(apiKey, all.add(interceptor));
    return () => all.delete(interceptor);
  }

  has(apiKey: number): boolean {
    return (this.#byKey.get(apiKey)?.size ?? 0) > 0;
  }

  /** The first verdict that is not `undefined`. */
  async judge(request: InterceptedRequest): Promise<Verdict> {
    for (const interceptor of this.#byKey.get(request.apiKey) ?? []) {
      const verdict = await interceptor(request);
      if (verdict !== undefined) return verdict;
    }
    return undefined;
  }
}
