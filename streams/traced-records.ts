import type { Processing } from '../platform/tracing/traces.js';
import { traces } from '../platform/tracing/traces.js';
import { isSampled, traceHeadersOf } from '../platform/tracing/trace-headers.js';
import { cloudEventAttribute } from './cloud-events.js';
import type { StreamRecord } from './records.js';

/**
 * Begins the processing of those records that a trace is recorded of. {@link spansOf} then ends it.
 *
 * @param mayBegin - whether a record that belongs to no trace begins one.
 * @returns the records, in their place copies of those with a `span`: the same list while traces are off.
 */
export function traceRecords(
  records: StreamRecord[],
  { groupId, mayBegin = false }: { groupId: string; mayBegin?: boolean },
): StreamRecord[] {
  const on = traces();
  if (on === undefined) return records;
  return records.map((record) => {
    const { traceparent } = record.headers;
    if (traceparent !== undefined && !isSampled(traceparent)) return record;
    const span = on.process(() => deliveryOf(record, groupId), traceHeadersOf(record.headers), mayBegin);
    return span === undefined ? record : { ...record, span };
  });
}

/** The processings that are under way. */
export function spansOf(records: readonly StreamRecord[]): Processing[] {
  if (traces() === undefined) return [];
  return records.flatMap(({ span }) => span ?? []);
}

/** https://opentelemetry.io/docs/specs/semconv/messaging/kafka/ */
function deliveryOf(record: StreamRecord, group: string) {
  const { topic, partition, offset, key, value, headers } = record;
  return {
    system: 'kafka' as const,
    source: topic,
    group,
    messageId: cloudEventAttribute(headers, 'id'),
    attributes: {
      'messaging.destination.partition.id': String(partition),
      'messaging.kafka.offset': offset,
      'messaging.kafka.message.key': key?.toString(),
      'messaging.message.body.size': value?.length ?? 0,
    },
  };
}
