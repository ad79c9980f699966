import { ConsumerSpan } from '../platform/tracing/spans.js';
import { isSampled, traceHeadersOf } from '../platform/tracing/trace-headers.js';
import { isTracing } from '../platform/tracing/traces.js';
import { cloudEventAttribute } from './cloud-events.js';
import type { StreamRecord } from './records.js';

/**
 * Starts the processing spans of records whose trace is recorded. The caller ends the {@link spansOf} them.
 * Attributes: https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
 *
 * @param mayBegin - whether a record without trace headers starts a new trace.
 * @returns the records, those with a `span` as copies; the same list while traces are off.
 */
export function traceRecords(
  records: StreamRecord[],
  { groupId, mayBegin = false }: { groupId: string; mayBegin?: boolean },
): StreamRecord[] {
  if (!isTracing()) return records;
  return records.map((record) => {
    const { topic, partition, offset, key, value, headers } = record;
    // Before the headers are parsed.
    if (headers['traceparent'] !== undefined && !isSampled(headers['traceparent'])) return record;
    const source = { system: 'kafka' as const, source: topic };
    const span = ConsumerSpan.start(source, { sender: traceHeadersOf(headers), mayBegin }, () => ({
      'messaging.consumer.group.name': groupId,
      'messaging.message.id': cloudEventAttribute(headers, 'id'),
      'messaging.destination.partition.id': String(partition),
      'messaging.kafka.offset': offset,
      'messaging.kafka.message.key': key?.toString(),
      'messaging.message.body.size': value?.length ?? 0,
    }));
    return span === undefined ? record : { ...record, span };
  });
}

/** Returns the spans of those records that have one. */
export function spansOf(records: readonly StreamRecord[]): ConsumerSpan[] {
  return isTracing() ? records.flatMap(({ span }) => span ?? []) : [];
}
