import type { Context } from 'hono';
import { MillraceError } from '../../platform/errors.js';
import { clientOf } from '../middleware/authentication.js';

/**
 * The key as its client means it: two clients that happen to choose the same one have nothing in common.
 *
 * @throws MillraceError `IDEMPOTENCY_KEY_INVALID`.
 */
export function idempotencyKeyOf(c: Context): string | undefined {
  const key = c.req.header('idempotency-key');
  if (key === undefined) return undefined;
  if (key.length === 0 || key.length > 256) {
    throw new MillraceError('IDEMPOTENCY_KEY_INVALID', 'An Idempotency-Key has 1 to 256 characters.');
  }
  return JSON.stringify([clientOf(c)?.id ?? '', key]);
}
