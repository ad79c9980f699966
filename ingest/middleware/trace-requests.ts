import type { Context, MiddlewareHandler } from 'hono';
import { toTraceHeaders, type TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { type Traces, type Work } from '../../platform/tracing/traces.js';
import { routeOf } from './measure-requests.js';

const workKey = 'work';

/**
 * Records requests, below what the caller's `traceparent` names, and says in `traceresponse` what they are in the trace
 * (https://w3c.github.io/trace-context/#traceresponse-header, a draft). Names and attributes as in
 * https://opentelemetry.io/docs/specs/semconv/http/http-spans/.
 */
export function traceRequests(traces: Traces): MiddlewareHandler {
  return async (c, next) => {
    const { method, path, url } = c.req;
    const { protocol, hostname, port } = new URL(url);
    const work = traces.request(method, callerOf(c), {
      'url.path': path,
      'url.scheme': protocol.slice(0, -1),
      'server.address': hostname,
      'server.port': port === '' ? undefined : Number(port),
      'user_agent.original': c.req.header('user-agent'),
    });
    c.set(workKey, work);
    await next();
    c.header('traceresponse', work.headers.traceparent);
    const route = routeOf(c);
    const { status } = c.res;
    work.describe({ 'http.route': route, 'http.response.status_code': status }, `${method} ${route}`);
    // What is the client's own fault is no error of the server.
    work.end(status < 500 ? undefined : (c.error ?? Object.assign(new Error(), { name: String(status) })));
  };
}

/** The request as it is recorded; undefined while traces are off. */
export function workOf(c: Context): Work | undefined {
  return c.get(workKey) as Work | undefined;
}

/** What the caller says of the trace that the request belongs to. */
export function callerOf(c: Context): TraceHeaders | undefined {
  const traceparent = c.req.header('traceparent');
  return traceparent === undefined ? undefined : toTraceHeaders(traceparent, c.req.header('tracestate'));
}
