import { propagation, ROOT_CONTEXT, type Span, SpanKind } from '@opentelemetry/api';
import type { Context, MiddlewareHandler } from 'hono';
import { endSpan } from '../../platform/tracing/spans.js';
import { headersOf, toTraceHeaders, type TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { tracer } from '../../platform/tracing/traces.js';
import { routeOf } from './measure-requests.js';

const spanKey = 'span';

/**
 * Records each request in a span below the caller's `traceparent`. The response header `traceresponse` names
 * the span (https://w3c.github.io/trace-context/#traceresponse-header, a draft). Names and attributes:
 * https://opentelemetry.io/docs/specs/semconv/http/http-spans/
 */
export function traceRequests(): MiddlewareHandler {
  return async (c, next) => {
    const { method, path, url } = c.req;
    const { protocol, hostname, port } = new URL(url);
    const attributes = {
      'http.request.method': method,
      'url.path': path,
      'url.scheme': protocol.slice(0, -1),
      'server.address': hostname,
      'server.port': port === '' ? undefined : Number(port),
      'user_agent.original': c.req.header('user-agent'),
    };
    const parent = propagation.extract(ROOT_CONTEXT, callerOf(c) ?? {});
    const span = tracer().startSpan(method, { kind: SpanKind.SERVER, attributes }, parent);
    c.set(spanKey, span);
    await next();
    c.header('traceresponse', headersOf(span.spanContext()).traceparent);
    const route = routeOf(c);
    const { status } = c.res;
    span.updateName(`${method} ${route}`);
    span.setAttributes({ 'http.route': route, 'http.response.status_code': status });
    const error = c.error ?? Object.assign(new Error(), { name: String(status) });
    // A fault of the client is no error of the server.
    endSpan(span, status < 500 ? undefined : error);
  };
}

/** The span of a request; undefined while traces are off. */
export function spanOf(c: Context): Span | undefined {
  return c.get(spanKey) as Span | undefined;
}

/** The trace headers of the caller. */
export function callerOf(c: Context): TraceHeaders | undefined {
  const traceparent = c.req.header('traceparent');
  return traceparent === undefined ? undefined : toTraceHeaders(traceparent, c.req.header('tracestate'));
}
