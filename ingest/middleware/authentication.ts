import type { Context, MiddlewareHandler } from 'hono';
import { MillraceError } from '../../platform/errors.js';
import { anyone, type ApiKeys, type Client } from '../api-keys/api-keys.js';

const clientKey = 'client';
const refusalKey = 'key refusal';

/** Returns the sender of a request; undefined without a valid key, if one is required. */
export function clientOf(c: Context): Client | undefined {
  return c.get(clientKey) as Client | undefined;
}

/** Returns why {@link clientOf} is undefined. */
export function refusalOf(c: Context): MillraceError {
  return (
    (c.get(refusalKey) as MillraceError | undefined) ??
    new MillraceError('API_KEY_REQUIRED', 'An API key is needed here.')
  );
}

/** Whether a request has no valid key, though one is required. */
export function wasRefused(c: Context): boolean {
  return c.get(refusalKey) !== undefined;
}

/** Identifies the client of a request, by its key in `Authorization: Bearer …` or `X-API-Key`. */
export function identifyClient(keys: ApiKeys): MiddlewareHandler {
  return (c, next) => {
    if (!keys.required) {
      c.set(clientKey, anyone);
      return next();
    }
    const sent =
      c.req.header('x-api-key') ?? /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? '';
    try {
      c.set(clientKey, keys.find(sent));
    } catch (error) {
      c.set(refusalKey, error);
    }
    return next();
  };
}
