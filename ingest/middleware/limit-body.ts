import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';

/**
 * Refuses a request whose body is over the limit.
 *
 * A body of declared length needs no counting, as Node reads no more of it than declared. Hono's own limit,
 * which counts, first converts the body to a stream, which costs more than all other handling of a request:
 * it is used only for chunked bodies.
 */
export function limitBody(maxBytes: number, refuse: (c: Context) => Response): MiddlewareHandler {
  const countChunks = bodyLimit({ maxSize: maxBytes, onError: refuse });
  return async (c, next) => {
    const length = c.req.header('content-length');
    if (length === undefined || c.req.header('transfer-encoding') !== undefined) return countChunks(c, next);
    return Number(length) > maxBytes ? refuse(c) : next();
  };
}
