import { isUtf8 } from 'node:buffer';
import { hash, randomFillSync } from 'node:crypto';
import { parse, v7 as uuidv7 } from 'uuid';
import { jsonObject } from '../../streams/json-value.js';
import type { RecordPosition } from '../../streams/records.js';

/**
 * Millrace's UUIDv5 name space (RFC 9562, section 5.5). It must never change, as stored ids are derived from
 * it.
 */
const namespace = Buffer.from(parse('6c234070-236f-4a53-8625-b11280d55c63'));

/**
 * Random bytes for the next ids: requesting sixteen bytes per id from the system takes seven times as long.
 */
const randomBytes = Buffer.alloc(4096);
let randomUsed = randomBytes.length;

/** Returns an id for an event without one: a UUIDv7, so that ids sort by time. */
export function newEventId(): string {
  if (randomUsed === randomBytes.length) {
    randomFillSync(randomBytes);
    randomUsed = 0;
  }
  return uuidv7({ random: randomBytes.subarray(randomUsed, (randomUsed += 16)) });
}

/**
 * Derives an event id from an Idempotency-Key: the same key gives the same ids; `index` is the event's
 * position in the request.
 */
export function idempotentEventId(pipeline: string, idempotencyKey: string, index: number): string {
  return nameId(JSON.stringify(['event', pipeline, idempotencyKey, index]));
}

/** Derives a job id from an Idempotency-Key: the same key gives the same job. */
export function idempotentJobId(pipeline: string, idempotencyKey: string): string {
  return nameId(JSON.stringify(['job', pipeline, idempotencyKey]));
}

/**
 * Derives an event id from a run of a schedule, so that every attempt makes the same events; `index` is the
 * event's position in the run.
 */
export function scheduledEventId(schedule: string, dueAt: number, index: number): string {
  return nameId(JSON.stringify(['schedule', schedule, dueAt, index]));
}

/**
 * Derives an id from the position of an event that was written to the log without one, so that a second
 * reading gives the same.
 */
export function positionEventId({ topic, partition, offset }: RecordPosition): string {
  return nameId(JSON.stringify(['record', topic, partition, offset]));
}

/** An event id in JSON: 1 to 256 characters, none of them a control character. */
export const eventIdPattern = /^[^\p{C}]{1,256}$/u;

/** As over HTTP, where an id has at most 256 characters. */
const maxEventIdBytes = 1024;

/**
 * Returns why the `ce_id` header of a record can't be the id of its event: invalid text would be stored as
 * another id.
 */
export function eventIdProblem({ headers }: { headers: Record<string, Buffer> }): string | undefined {
  const given = headers['ce_id'];
  if (given === undefined) return undefined;
  if (given.length > maxEventIdBytes)
    return `Its id has ${given.length} bytes, more than ${maxEventIdBytes}.`;
  return isUtf8(given) ? undefined : 'Its id, the header ce_id, is not valid UTF-8.';
}

/**
 * Returns the id of a record's event: the `ce_id` header, else the `event_id` of a JSON value, else an id
 * derived from its position; this too when {@link eventIdProblem} finds something.
 */
export function recordEventId(
  record: RecordPosition & { headers: Record<string, Buffer>; value: Buffer | null },
): string {
  const given = record.headers['ce_id'];
  if (given?.length) return eventIdProblem(record) === undefined ? given.toString() : positionEventId(record);
  return jsonEventId(record.value) ?? positionEventId(record);
}

function jsonEventId(value: Buffer | null): string | undefined {
  try {
    const { event_id: id } = (jsonObject(value) ?? {}) as { event_id?: unknown };
    return typeof id === 'string' && eventIdPattern.test(id) ? id : undefined;
  } catch {
    // It becomes a dead letter under the id of its position.
    return undefined;
  }
}

/**
 * Derives a prediction id: one event and one model version make one prediction, however often the event is
 * scored.
 */
export function predictionId(eventId: string, modelDigest: string): string {
  return nameId(`${modelDigest}:${eventId}`);
}

/** Derives a dead letter's id: one failed record makes one dead letter, however often it is read. */
export function deadLetterId({ topic, partition, offset }: RecordPosition): string {
  return nameId(JSON.stringify(['dead-letter', topic, partition, offset]));
}

/**
 * The name space, and room for a name behind it: a buffer for each name would take longer than its digest.
 */
const named = Buffer.alloc(namespace.length + 4096);
namespace.copy(named);

/**
 * Returns a UUIDv5, in a quarter of the time of the uuid package, since every prediction needs one (RFC 9562,
 * section 5.5).
 */
function nameId(name: string): string {
  // UTF-8 takes at most three bytes for a unit.
  const fits = 3 * name.length <= named.length - namespace.length;
  const bytes = fits
    ? named.subarray(0, namespace.length + named.write(name, namespace.length))
    : Buffer.concat([namespace, Buffer.from(name)]);
  const hex = hash('sha1', bytes, 'hex');
  const variant = '89ab'[Number.parseInt(hex.charAt(16), 16) & 3] ?? '';
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
