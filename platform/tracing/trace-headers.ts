import { propagation, ROOT_CONTEXT, type SpanContext, trace } from '@opentelemetry/api';

/** Where something belongs in a trace, as W3C Trace Context puts it into headers of requests, records and messages. */
export interface TraceHeaders {
  traceparent: string;
  tracestate?: string;
}

const version = '00';
const traceparentPattern = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/;
/** What everyone has to carry on, section 3.3.1.5; longer ones are dropped. */
const tracestatePattern = /^[\x20-\x7e\t]{1,512}$/;
/** Of the last digit of a traceparent of version 00: odd where the trace is recorded. */
const flagsAt = 54;

/** https://www.w3.org/TR/trace-context/#traceparent-header: later versions may be longer, version ff is none. */
export function isTraceparent(value: string): boolean {
  if (!traceparentPattern.test(value) || value.startsWith('ff')) return false;
  return value.length === 55 || (!value.startsWith(version) && value[55] === '-');
}

/** Takes headers as anyone may have set them: an invalid `traceparent` counts as none, and takes its `tracestate` with it. */
export function toTraceHeaders(traceparent: unknown, tracestate?: unknown): TraceHeaders | undefined {
  if (typeof traceparent !== 'string' || !isTraceparent(traceparent)) return undefined;
  return typeof tracestate === 'string' && tracestatePattern.test(tracestate)
    ? { traceparent, tracestate }
    : { traceparent };
}

/** The trace that a record belongs to. */
export function traceHeadersOf(headers: Record<string, Buffer>): TraceHeaders | undefined {
  const { traceparent, tracestate } = headers;
  return traceparent && toTraceHeaders(traceparent.toString(), tracestate?.toString());
}

/** Whether a trace is recorded: a `traceparent` as text or as a record's header. */
export function isSampled(traceparent: string | Buffer): boolean {
  const flags = String.fromCharCode(
    typeof traceparent === 'string' ? traceparent.charCodeAt(flagsAt) : (traceparent[flagsAt] ?? 0),
  );
  return (Number.parseInt(flags, 16) & 1) === 1;
}

/** The headers that make what carries them a child of a span. They are empty while traces are off. */
export function headersOf(span: SpanContext): TraceHeaders {
  const headers = {};
  propagation.inject(trace.setSpanContext(ROOT_CONTEXT, span), headers);
  return headers as TraceHeaders;
}
