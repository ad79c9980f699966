import type { TraceHeaders } from '../platform/tracing/trace-headers.js';

/** Attributes of an event, as CloudEvents 1.0 names them. */
export interface CloudEvent {
  id: string;
  /** Its origin: a URI reference, for example `/http/predict`. */
  source: string;
  type: string;
  /** When it happened: RFC 3339. */
  time: string;
  /** Its trace, if it has one. */
  trace?: TraceHeaders | undefined;
}

/**
 * Returns the Kafka headers of CloudEvents' binary mode (Kafka protocol binding 1.0.2, section 3.2): one
 * `ce_` header per attribute, the record's value being the data. `traceparent` and `tracestate` keep their
 * names of W3C trace context.
 */
export function cloudEventHeaders({ id, source, type, time, trace }: CloudEvent): Record<string, string> {
  const headers: Record<string, string> = {
    ce_specversion: '1.0',
    ce_id: id,
    ce_source: source,
    ce_type: type,
    ce_time: time,
  };
  if (trace !== undefined) Object.assign(headers, trace);
  return headers;
}

/** Returns an attribute, if it is present and not empty: records of other producers may have none of them. */
export function cloudEventAttribute(
  headers: Record<string, Buffer>,
  name: 'id' | 'source' | 'type' | 'time',
): string | undefined {
  return headers[`ce_${name}`]?.toString() || undefined;
}
