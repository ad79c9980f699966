/** What an event says about itself, as CloudEvents 1.0 names it. */
export interface CloudEvent {
  id: string;
  /** Where it came from: a URI reference, for example `/http/predict`. */
  source: string;
  type: string;
  /** When it happened: RFC 3339. */
  time: string;
  /** W3C trace context, if the event belongs to a trace. */
  traceparent?: string;
}

/**
 * Kafka headers of CloudEvents' binary mode (Kafka protocol binding 1.0.2, section 3.2): one `ce_` header per
 * attribute, the record's value being the data. `traceparent` has its own name by W3C trace context.
 */
export function cloudEventHeaders({
  id,
  source,
  type,
  time,
  traceparent,
}: CloudEvent): Record<string, string> {
  const headers: Record<string, string> = {
    ce_specversion: '1.0',
    ce_id: id,
    ce_source: source,
    ce_type: type,
    ce_time: time,
  };
  if (traceparent !== undefined) headers['traceparent'] = traceparent;
  return headers;
}

const version = '00';
const traceparentPattern = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/;

/** An attribute, if it is there and not empty: records of other producers may have none of them. */
export function cloudEventAttribute(
  headers: Record<string, Buffer>,
  name: 'id' | 'source' | 'type' | 'time',
): string | undefined {
  return headers[`ce_${name}`]?.toString() || undefined;
}

/** The trace that a record belongs to; an invalid `traceparent` counts as none. */
export function traceparentOf(headers: Record<string, Buffer>): string | undefined {
  const traceparent = headers['traceparent']?.toString();
  return traceparent && isTraceparent(traceparent) ? traceparent : undefined;
}

/** https://www.w3.org/TR/trace-context/#traceparent-header: later versions may be longer, version ff is none. */
export function isTraceparent(value: string): boolean {
  if (!traceparentPattern.test(value) || value.startsWith('ff')) return false;
  return value.length === 55 || (!value.startsWith(version) && value[55] === '-');
}
