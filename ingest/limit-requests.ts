import { isIPv6 } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import { clientOf } from './authentication.js';
import { sendProblem } from './problems.js';
import type { Quota, RateLimits } from './rate-limits.js';

const limitsKey = 'limits';

interface ClientLimits {
  limits: RateLimits;
  client: string;
  /** What its API key says; none: what holds for all. */
  perSecond: number | undefined;
}

/**
 * Refuses a client that asks for more than it may with 429, and says in every answer what it may still ask for: `RateLimit`
 * and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-11. A client is its API key, where it sent a valid one,
 * else its address.
 *
 * @param trustProxy - how many proxies in front of this server add to `X-Forwarded-For`.
 */
export function limitRequests(limits: RateLimits, trustProxy: number): MiddlewareHandler {
  return async (c, next) => {
    const { id = '', perSecond } = clientOf(c) ?? {};
    const client = id === '' ? `address:${addressOf(c, trustProxy)}` : `key:${id}`;
    c.set(limitsKey, { limits, client, perSecond } satisfies ClientLimits);
    c.header('RateLimit-Policy', `"default";q=${perSecond ?? limits.perSecond};w=1`);
    try {
      tell(c, await limits.take(client, 1, perSecond));
    } catch (error) {
      return sendProblem(c, error);
    }
    return next();
  };
}

/**
 * Counts the events of a request, of which the request itself was the first.
 *
 * @throws RateLimited
 */
export async function takeEvents(c: Context, count: number): Promise<void> {
  const found = c.get(limitsKey) as ClientLimits | undefined;
  if (found !== undefined && count > 1)
    tell(c, await found.limits.take(found.client, count - 1, found.perSecond));
}

function tell(c: Context, { remaining, resetSeconds }: Quota): void {
  c.header('RateLimit', `"default";r=${remaining};t=${resetSeconds}`);
}

/** The last address that a trusted proxy has seen; where there is none, the connection's. */
function addressOf(c: Context, trustProxy: number): string {
  const socket = (c.env as Partial<HttpBindings> | undefined)?.incoming?.socket.remoteAddress ?? 'unknown';
  if (trustProxy === 0) return networkOf(socket);
  const forwarded = (c.req.header('x-forwarded-for') ?? '').split(',').map((address) => address.trim());
  return networkOf(forwarded.at(-trustProxy) || socket);
}

/** An IPv6 client has 2^64 addresses of its own (RFC 6177): what names it is its /64. An IPv4 address stays as it is. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address.slice(0, 64);
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: gap }, () => '0'), ...right].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}
