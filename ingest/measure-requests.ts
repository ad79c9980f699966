import type { Context, MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Metrics } from '../platform/metrics.js';

/** Times every request under its route's pattern, not its path, so that the number of series stays small. */
export function measureRequests({ httpRequests }: Metrics): MiddlewareHandler {
  return async (c, next) => {
    const started = performance.now();
    await next();
    const labels = { method: c.req.method, route: routeOf(c), status: String(c.res.status) };
    httpRequests.observe(labels, (performance.now() - started) / 1000);
  };
}

/** The pattern of the route that answered. */
export function routeOf(c: Context): string {
  // Middleware of a whole folder matches too, and may stand behind the route that answers.
  return matchedRoutes(c).findLast(({ method }) => method !== 'ALL')?.path ?? '/*';
}
