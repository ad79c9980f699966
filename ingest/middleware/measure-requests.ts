import type { Context, MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Metrics } from '../../platform/metrics.js';
import { clientOf, wasRefused } from './authentication.js';

/**
 * Measures every request under its route's pattern, not its path, so that the number of series stays small.
 */
export function measureRequests({ httpRequests, httpRequestsByKey }: Metrics): MiddlewareHandler {
  return async (c, next) => {
    const started = performance.now();
    await next();
    const labels = { method: c.req.method, route: routeOf(c), status: String(c.res.status) };
    const key = keyLabel(c);
    if (key !== undefined) httpRequestsByKey.inc({ key, status: labels.status });
    httpRequests.observe(labels, (performance.now() - started) / 1000);
  };
}

/** Returns the pattern of the route that answered. */
export function routeOf(c: Context): string {
  // Middleware of a whole folder matches too, and may come after the route that answers.
  return matchedRoutes(c).findLast(({ method }) => method !== 'ALL')?.path ?? '/*';
}

/** Undefined if no keys are required, and for probes, which come before the check of keys. */
function keyLabel(c: Context): string | undefined {
  const client = clientOf(c);
  if (client !== undefined) return client.name === '' ? undefined : client.name;
  return wasRefused(c) ? '' : undefined;
}
