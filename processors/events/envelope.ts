import { z } from 'zod';
import { MillraceError } from '../../platform/errors.js';
import { isStorable } from '../../analytics/rows.js';
import { eventIdPattern } from './ids.js';
import { type Scorer } from '../scoring/scorer.js';
import { fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { parseTime, timeExample, toTimeText } from '../../schemas/times.js';
import type { TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { cloudEventHeaders } from '../../streams/cloud-events.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { recordKey } from '../pipelines/pipeline.js';
import type { ReceivedEvent } from '../scoring/prediction.js';

/** The members of an event outside its contract. */
export const envelopeSchema = z.object({
  event_id: z
    .string({ error: 'must be a string' })
    .regex(eventIdPattern, 'must have 1 to 256 characters, none of them a control character')
    .optional()
    .describe('The client’s own id of the event. Repeating it repeats nothing. Unset: a UUIDv7.'),
  event_time: z
    .string({ error: `must be ${timeExample}` })
    .meta({ format: 'date-time' })
    .transform((text, { issues }) => {
      const time = parseTime(text);
      if (time !== undefined && isStorable(time)) return time;
      const message = time === undefined ? `must be ${timeExample}` : 'must be in the years 1900 to 2299';
      issues.push({ code: 'custom', message, input: text });
      return z.NEVER;
    })
    .optional()
    .describe('When the event happened, RFC 3339. Unset: when it was accepted.'),
});

/** An event from a client, whose fields fit the contract. */
export class EnvelopedEvent {
  readonly eventId: string | undefined;
  /** Milliseconds since 1970, UTC. */
  readonly eventTime: number | undefined;
  readonly fields: object;

  constructor(eventId: string | undefined, eventTime: number | undefined, fields: object) {
    this.eventId = eventId;
    this.eventTime = eventTime;
    this.fields = fields;
  }
}

/**
 * Separates the envelope from the fields and validates both, naming every wrong field of either. An event
 * that was already opened or refused is returned unchanged. A contract may have fields with the envelope's
 * names: they are fields too.
 */
export function openEnvelope(body: unknown, scorer: Scorer): EnvelopedEvent | MillraceError {
  if (body instanceof MillraceError || body instanceof EnvelopedEvent) return body;
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return new InvalidEvent([{ field: '', problem: 'must be a JSON object' }]);
  }
  const { event_id: id, event_time: time, ...rest } = body as Record<string, unknown>;
  const { shape } = scorer.schema;
  const event_id = id ?? undefined;
  // A field of the contract may be a time in another form, which is no time of the event.
  const isOwnTime = 'event_time' in shape && !envelopeSchema.shape.event_time.safeParse(time).success;
  const event_time = isOwnTime ? undefined : (time ?? undefined);
  if ('event_id' in shape && id !== undefined) rest['event_id'] = id;
  if ('event_time' in shape && time !== undefined) rest['event_time'] = time;
  const fields = scorer.validate(rest);
  // Most events have only an id, and validating by the schema is slow.
  if (event_time === undefined && isEventId(event_id) && !(fields instanceof InvalidEvent))
    return new EnvelopedEvent(event_id, undefined, fields);
  const envelope = envelopeSchema.safeParse({ event_id, event_time });
  if (!envelope.success) {
    const wrong = fieldErrors(envelope.error);
    return new InvalidEvent(fields instanceof InvalidEvent ? [...wrong, ...fields.fields] : wrong);
  }
  if (fields instanceof InvalidEvent) return fields;
  return new EnvelopedEvent(envelope.data.event_id, envelope.data.event_time, fields);
}

function isEventId(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && eventIdPattern.test(value));
}

/** A record with mutable headers. */
export type EventRecord = NewRecord & { headers: Record<string, string | Buffer> };

/**
 * Returns the record of an event on `<pipeline>.events`, keyed by the subject of the event.
 *
 * @param trace - of the event's sender.
 */
export function eventRecord(
  pipeline: OpenPipeline,
  serde: Serde,
  event: Pick<ReceivedEvent, 'eventId' | 'eventTime' | 'source' | 'fields'>,
  trace?: TraceHeaders,
): EventRecord {
  return {
    topic: pipeline.topics.events,
    key: recordKey(pipeline.pipeline, event.fields, event.eventId),
    value: serde.encode(pipeline.event.schemaId, pipeline.event.type, event.fields),
    headers: cloudEventHeaders({
      id: event.eventId,
      source: event.source,
      type: `millrace.${pipeline.name}.event`,
      time: toTimeText(event.eventTime),
      trace,
    }),
  };
}

/** Headers of an event that name the queue for its reply and the client's correlation id. */
export const replyToHeader = 'millrace-reply-to';
export const correlationIdHeader = 'millrace-correlation-id';

const allReplyHeaders = [replyToHeader, correlationIdHeader];

/** Copies the reply headers of an event's record to those of what answers it. */
export function copyReplyHeaders({ headers }: StreamRecord, to: Record<string, Buffer | string>): void {
  for (const name of allReplyHeaders) {
    const value = headers[name];
    if (value !== undefined) to[name] = value;
  }
}
