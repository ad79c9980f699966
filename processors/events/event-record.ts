import type { TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { cloudEventHeaders } from '../../streams/cloud-events.js';
import type { NewRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { recordKey } from '../pipelines/pipeline.js';
import type { ReceivedEvent } from '../scoring/prediction.js';

/**
 * The record of an event on `<pipeline>.events`, keyed by what the event is about.
 *
 * @param trace - what sent the event.
 */
export function eventRecord(
  pipeline: OpenPipeline,
  serde: Serde,
  event: Pick<ReceivedEvent, 'eventId' | 'eventTime' | 'source' | 'fields'>,
  trace?: TraceHeaders,
): NewRecord & { headers: Record<string, string | Buffer> } {
  return {
    topic: pipeline.topics.events,
    key: recordKey(pipeline.pipeline, event.fields, event.eventId),
    value: serde.encode(pipeline.event.schemaId, pipeline.event.type, event.fields),
    headers: cloudEventHeaders({
      id: event.eventId,
      source: event.source,
      type: `millrace.${pipeline.name}.event`,
      time: new Date(event.eventTime).toISOString(),
      trace,
    }),
  };
}
