import { v5 as uuidv5, v7 as uuidv7 } from 'uuid';
import type { Position } from './prediction.js';

/** Millrace's own UUIDv5 name space (RFC 9562, section 5.5): drawn once, and never to change, as stored ids follow from it. */
const namespace = '6c234070-236f-4a53-8625-b11280d55c63';

/** An id for an event that came without one: a UUIDv7, so that ids sort by time. */
export function newEventId(): string {
  return uuidv7();
}

/** The same Idempotency-Key gives the same event ids; `index` is the event's place in the request. */
export function idempotentEventId(pipeline: string, idempotencyKey: string, index: number): string {
  return uuidv5(JSON.stringify(['event', pipeline, idempotencyKey, index]), namespace);
}

/** An id for an event that was put on the log without one: it follows from the place, so reading it again gives the same. */
export function positionEventId({ topic, partition, offset }: Position): string {
  return uuidv5(JSON.stringify(['record', topic, partition, offset]), namespace);
}

/** One event and one model version make one prediction, however often the event is scored. */
export function predictionId(eventId: string, modelDigest: string): string {
  return uuidv5(`${modelDigest}:${eventId}`, namespace);
}

/** One record that failed makes one dead letter, however often it is read. */
export function deadLetterId({ topic, partition, offset }: Position): string {
  return uuidv5(JSON.stringify(['dead-letter', topic, partition, offset]), namespace);
}
