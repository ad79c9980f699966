import type { Context } from 'hono';
import { MillraceError } from '../../platform/errors.js';
import { requestHeaders } from '../node-http.js';
import { headerParameter } from '../openapi/describe.js';
import { clientOf } from '../middleware/authentication.js';
import { idempotencyKeySchema } from './schemas.js';

/** The header in the OpenAPI document. */
export const idempotencyKeyParameter = headerParameter(
  'Idempotency-Key',
  'Events without an id get one that follows from this key: a repeated request repeats nothing.',
  idempotencyKeySchema,
);

/**
 * Returns the key in its client's scope: equal keys of two clients are independent.
 *
 * @throws MillraceError `IDEMPOTENCY_KEY_INVALID`.
 */
export function idempotencyKeyOf(c: Context): string | undefined {
  const key = requestHeaders(c)['idempotency-key'];
  if (key === undefined) return undefined;
  if (!idempotencyKeySchema.safeParse(key).success) {
    throw new MillraceError('IDEMPOTENCY_KEY_INVALID', 'An Idempotency-Key has 1 to 256 characters.');
  }
  return JSON.stringify([clientOf(c)?.id ?? '', key]);
}
