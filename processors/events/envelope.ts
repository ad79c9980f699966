import { z } from 'zod';
import { MillraceError } from '../../platform/errors.js';
import { isStorable } from './event-time.js';
import { eventIdPattern } from './ids.js';
import { InvalidEvent, type Scorer } from '../scoring/scorer.js';
import { fieldErrors } from '../../schemas/event-schema.js';
import { parseTime, timeExample } from '../../schemas/times.js';

/** What a client may say of an event beside its fields. */
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

/** An event as a client sent it, its fields fit for the contract. */
export interface EnvelopedEvent {
  eventId: string | undefined;
  /** Milliseconds since 1970, UTC. */
  eventTime: number | undefined;
  fields: object;
}

/** Takes the envelope off and validates both parts, naming every wrong field of either. */
export function openEnvelope(body: unknown, scorer: Scorer): EnvelopedEvent | MillraceError {
  if (body instanceof MillraceError) return body;
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return new InvalidEvent([{ field: '', problem: 'must be a JSON object' }]);
  }
  const { event_id: id, event_time: time, ...rest } = body as Record<string, unknown>;
  const [event_id, event_time] = [id ?? undefined, time ?? undefined];
  const fields = scorer.validate(rest);
  // Most events have no more than an id, and the schema takes its time.
  if (event_time === undefined && isEventId(event_id) && !(fields instanceof InvalidEvent))
    return { eventId: event_id, eventTime: undefined, fields };
  const envelope = envelopeSchema.safeParse({ event_id, event_time });
  if (!envelope.success) {
    const wrong = fieldErrors(envelope.error);
    return new InvalidEvent(fields instanceof InvalidEvent ? [...wrong, ...fields.fields] : wrong);
  }
  if (fields instanceof InvalidEvent) return fields;
  return { eventId: envelope.data.event_id, eventTime: envelope.data.event_time, fields };
}

function isEventId(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && eventIdPattern.test(value));
}
