export interface InterceptedRequest {
  apiKey: number;
  version: number;
  correlationId: number;
  clientId: string;
  /** The decoded request, as the API's module declares it. */
  body: unknown;
}

/**
 * Verdict on an intercepted request: unaffected (`undefined`), answered with the given error code without
 * taking effect, the connection dropped before it takes effect (`drop`), or dropped instead of the answer
 * (`drop-answer`), so that the client can't know the outcome.
 */
export type Verdict = undefined | { errorCode: number } | 'drop' | 'drop-answer';

/** Observes requests, delays them (by the promise it returns), or decides their outcome. */
export type Interceptor = (request: InterceptedRequest) => Verdict | void | Promise<Verdict | void>;

/** Fault injection by API key, for tests of clients with a misbehaving broker. */
export class Interceptors {
  readonly #byKey = new Map<number, Set<Interceptor>>();

  /** Passes every request of this API to `interceptor` until the returned function is called. */
  add(apiKey: number, interceptor: Interceptor): () => void {
    const all = this.#byKey.get(apiKey) ?? new Set();
    this.#byKey.set(apiKey, all.add(interceptor));
    return () => all.delete(interceptor);
  }

  has(apiKey: number): boolean {
    return (this.#byKey.get(apiKey)?.size ?? 0) > 0;
  }

  /** Returns the first verdict that is not `undefined`. */
  async judge(request: InterceptedRequest): Promise<Verdict> {
    for (const interceptor of this.#byKey.get(request.apiKey) ?? []) {
      const verdict = await interceptor(request);
      if (verdict !== undefined) return verdict;
    }
    return undefined;
  }
}
