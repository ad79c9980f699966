import { type Span, SpanKind } from '@opentelemetry/api';
import { childContext } from '../../platform/tracing/spans.js';
import { isTracing, tracer } from '../../platform/tracing/traces.js';
import type { StreamRecord } from '../../streams/records.js';
import { spansOf } from '../../streams/traced-records.js';

/**
 * Starts the span of one insert, in the trace of the first record that has a span. This span and the spans of
 * the other records are linked in both directions. Attributes:
 * https://opentelemetry.io/docs/specs/semconv/database/
 */
export function startInsertSpan(table: string, records: readonly StreamRecord[]): Span | undefined {
  if (!isTracing()) return undefined;
  const [first, ...others] = spansOf(records).map(({ span }) => span);
  if (first === undefined) return undefined;
  const attributes = {
    'db.system.name': 'clickhouse',
    'db.namespace': 'millrace',
    'db.collection.name': table,
    'db.operation.name': 'INSERT',
    'millrace.rows': records.length,
  };
  const links = others.map((other) => ({ context: other.spanContext() }));
  const options = { kind: SpanKind.CLIENT, attributes, links };
  const span = tracer().startSpan(`INSERT ${table}`, options, childContext(first));
  for (const other of others) other.addLink({ context: span.spanContext() });
  return span;
}
