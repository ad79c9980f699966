import { propagation, ROOT_CONTEXT, type SpanContext, trace } from '@opentelemetry/api';

/** The W3C Trace Context headers of a request, record or message. */
export interface TraceHeaders {
  traceparent: string;
  tracestate?: string;
}

const version = '00';
const traceparentPattern = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/;
/** Everyone has to propagate 512 characters (section 3.3.1.5). A longer one is dropped. */
const tracestatePattern = /^[\x20-\x7e\t]{1,512}$/;
/** Index of the last digit of the flags in a `traceparent`: odd if the trace is recorded. */
const flagsAt = 54;

/** https://www.w3.org/TR/trace-context/#traceparent-header: later versions may be longer, ff is invalid. */
export function isTraceparent(value: string): boolean {
  if (!traceparentPattern.test(value) || value.startsWith('ff')) return false;
  return value.length === 55 || (!value.startsWith(version) && value[55] === '-');
}

/** Validates headers of others. Without a valid `traceparent` a `tracestate` is dropped too. */
export function toTraceHeaders(traceparent: unknown, tracestate?: unknown): TraceHeaders | undefined {
  if (typeof traceparent !== 'string' || !isTraceparent(traceparent)) return undefined;
  return typeof tracestate === 'string' && tracestatePattern.test(tracestate)
    ? { traceparent, tracestate }
    : { traceparent };
}

/** The trace headers of a record. */
export function traceHeadersOf(headers: Record<string, Buffer>): TraceHeaders | undefined {
  const { traceparent, tracestate } = headers;
  return traceparent && toTraceHeaders(traceparent.toString(), tracestate?.toString());
}

/** Whether a trace is recorded. It reads one byte, so that records of other traces cost little. */
export function isSampled(traceparent: string | Buffer): boolean {
  const flags = String.fromCharCode(
    typeof traceparent === 'string' ? traceparent.charCodeAt(flagsAt) : (traceparent[flagsAt] ?? 0),
  );
  return (Number.parseInt(flags, 16) & 1) === 1;
}

/** The headers that name a span as the parent. They are empty while traces are off. */
export function headersOf(span: SpanContext): TraceHeaders {
  const headers = {};
  propagation.inject(trace.setSpanContext(ROOT_CONTEXT, span), headers);
  return headers as TraceHeaders;
}
