import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { requestHeaders } from '../node-http.js';

/**
 * Refuses a request whose body is over the limit.
 *
 * A body of declared length needs no counting, as Node reads no more of it than declared. Hono's own limit,
 * which counts, first converts the body to a stream, which costs more than all other handling of a request:
 * it is used only for chunked bodies.
 */
export function limitBody(maxBytes: number, refuse: (c: Context) => Response): MiddlewareHandler {
  const countChunks = bodyLimit({ maxSize: maxBytes, onError: refuse });
  return (c, next) => {
    const { 'content-length': length, 'transfer-encoding': encoding } = requestHeaders(c);
    if (length === undefined || encoding !== undefined) return countChunks(c, next);
    return Number(length) > maxBytes ? Promise.resolve(refuse(c)) : next();
  };
}
