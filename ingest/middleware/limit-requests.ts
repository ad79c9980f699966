import { isIPv4, isIPv6 } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import { clientOf } from './authentication.js';
import { setHeader } from '../node-http.js';
import { sendProblem } from '../problems.js';
import type { Quota, RateLimits } from './rate-limits.js';

const limitsKey = 'limits';

interface ClientLimits {
  limits: RateLimits;
  client: string;
  /** The limit of its API key; unset: the common limit. */
  perSecond: number | undefined;
}

/**
 * Refuses a client over its limit with 429, and reports the remaining quota in every answer: `RateLimit` and
 * `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-11. A client is its API key, if it sent a
 * valid one, else its address.
 *
 * @param trustProxy - how many proxies in front of this server add to `X-Forwarded-For`.
 */
export function limitRequests(limits: RateLimits, trustProxy: number): MiddlewareHandler {
  return async (c, next) => {
    const { id = '', perSecond } = clientOf(c) ?? {};
    const client = id === '' ? `address:${addressOf(c, trustProxy)}` : `key:${id}`;
    c.set(limitsKey, { limits, client, perSecond } satisfies ClientLimits);
    setHeader(c, 'RateLimit-Policy', `"default";q=${perSecond ?? limits.perSecond};w=1`);
    try {
      tell(c, await limits.take(client, 1, perSecond));
    } catch (error) {
      return sendProblem(c, error);
    }
    return next();
  };
}

/**
 * Counts the events of a request, the first of which the request itself counted.
 *
 * @throws RateLimited
 */
export async function takeEvents(c: Context, count: number): Promise<void> {
  const found = c.get(limitsKey) as ClientLimits | undefined;
  if (found !== undefined && count > 1)
    tell(c, await found.limits.take(found.client, count - 1, found.perSecond));
}

function tell(c: Context, { remaining, resetSeconds }: Quota): void {
  setHeader(c, 'RateLimit', `"default";r=${remaining};t=${resetSeconds}`);
}

/** Returns the last address that a trusted proxy has seen; without one, the connection's. */
function addressOf(c: Context, trustProxy: number): string {
  const socket = (c.env as Partial<HttpBindings> | undefined)?.incoming?.socket.remoteAddress ?? 'unknown';
  if (trustProxy === 0) return networkOf(socket) ?? socket;
  const forwarded = (c.req.header('x-forwarded-for') ?? '').split(',').at(-trustProxy) ?? '';
  return networkOf(forwarded) ?? networkOf(socket) ?? socket;
}

/**
 * Returns the client of an address: an IPv4 address unchanged, of an IPv6 address its /64, as a client has
 * 2^64 addresses (RFC 6177). Accepts the forms that proxies write: with a port, in brackets, in quotes (RFC
 * 7239, 6), mapped IPv4.
 *
 * @returns undefined for invalid addresses.
 */
export function networkOf(forwarded: string): string | undefined {
  const text = forwarded.trim().replace(/^"(.*)"$/, '$1');
  const address =
    /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text;
  if (isIPv4(address)) return address;
  if (!isIPv6(address)) return undefined;
  // The URL standard has one text for each address: hexadecimal, with the longest row of zeros left out.
  const [head = '', tail] = new URL(`http://[${address.split('%')[0]}]`).hostname.slice(1, -1).split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: gap }, () => '0'), ...right];
  if (groups.slice(0, 6).join(':') === '0:0:0:0:0:ffff') return groups.slice(6).flatMap(bytesOf).join('.');
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/** Returns the two bytes of a group of an IPv6 address. */
function bytesOf(group: string): number[] {
  const value = Number.parseInt(group, 16);
  return [value >> 8, value & 0xff];
}
