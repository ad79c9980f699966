import type { Context } from 'hono';
import { toProblem } from '../platform/problem.js';
import { RateLimited } from './middleware/rate-limits.js';
import { spanOf } from './middleware/trace-requests.js';

/**
 * Answers with problem details, below `/v2` in the form of that protocol. A retriable one has the time of a
 * retry.
 *
 * @param more - additional members.
 */
export function sendProblem(c: Context, error: unknown, more: object = {}): Response {
  const body = { ...toProblem(error), ...more };
  const isInference = /^\/v2(?:\/|$)/.test(c.req.path);
  const headers: Record<string, string> = {
    'content-type': isInference ? 'application/json' : 'application/problem+json',
  };
  // A pipeline that is down is retried at growing intervals, or waits for a person.
  if (body.status === 503) headers['retry-after'] = body.code === 'PIPELINE_DOWN' ? '10' : '1';
  if (error instanceof RateLimited) headers['retry-after'] = String(error.retryAfterSeconds);
  if (body.status === 401) headers['www-authenticate'] = 'Bearer';
  const traceId = spanOf(c)?.spanContext().traceId;
  const content = {
    ...(isInference ? { error: body.detail, code: body.code } : body),
    ...(traceId === undefined ? {} : { trace_id: traceId }),
  };
  return c.body(JSON.stringify(content), body.status as 500, headers);
}
