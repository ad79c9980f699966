import { createHash, timingSafeEqual } from 'node:crypto';
import type { Context, MiddlewareHandler } from 'hono';
import { MillraceError } from '../platform/errors.js';
import { sendProblem } from './problems.js';

const clientKey = 'client';

/** Which of several clients sent a request: a digest of its API key, or nothing where it sent none that is valid. */
export function clientOf(c: Context): string {
  return (c.get(clientKey) as string | undefined) ?? '';
}

/**
 * Finds out which client sent a request, by the key that it sends as `Authorization: Bearer …` or `X-API-Key`.
 * Keys are compared as digests and all of them each time, so the time taken tells nothing of them.
 *
 * @param keys - none: clients are not told apart.
 */
export function identifyClient(keys: readonly string[] = []): MiddlewareHandler {
  const digests = keys.map(digest);
  return async (c, next) => {
    if (digests.length === 0) return next();
    const sent =
      c.req.header('x-api-key') ?? /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? '';
    const sentDigest = digest(sent);
    const matches = digests.filter((each) => timingSafeEqual(each, sentDigest)).length;
    if (matches > 0) c.set(clientKey, sentDigest.toString('hex'));
    return next();
  };
}

/**
 * Lets a request through whose client {@link identifyClient} has found.
 *
 * @param keys - none: every request passes.
 */
export function requireKey(keys: readonly string[] = []): MiddlewareHandler {
  return async (c, next) => {
    if (keys.length === 0 || clientOf(c) !== '') return next();
    const problem = 'Send one of the API keys as `Authorization: Bearer …` or `X-API-Key`.';
    return sendProblem(c, new MillraceError('API_KEY_REQUIRED', problem));
  };
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
