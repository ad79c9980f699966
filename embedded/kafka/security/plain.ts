import { failed } from './exchange.js';
import type { SaslStep } from './exchange.js';
import type { Users } from './users.js';

/**
 * SASL PLAIN (RFC 4616): one token, `authorization id NUL user NUL password`; the first may be empty or the
 * user.
 */
export function plain(users: Users): SaslStep {
  return (token) => {
    const [authorizationId, user, password, ...more] = token.toString('utf8').split('\0');
    const wellFormed =
      user !== undefined &&
      password !== undefined &&
      more.length === 0 &&
      (authorizationId === '' || authorizationId === user);
    if (!wellFormed || !users.hasPassword(user, password)) return Promise.resolve(failed);
    return Promise.resolve({ kind: 'authenticated', answer: Buffer.alloc(0) });
  };
}
