import { setImmediate as nextTurn } from 'node:timers/promises';
import { isUtf8 } from 'node:buffer';
import type { Context } from 'hono';
import type { z } from 'zod';
import { takeEvents } from './middleware/limit-requests.js';
import { requestHeaders } from './node-http.js';
import { MillraceError, messageOf } from '../platform/errors.js';
import { firstInvalidByte } from '../platform/utf8.js';

const bodyKey = 'body';

/**
 * Counts of a body before it is parsed: each JSON value becomes an object many times the size of its text.
 */
interface Counts {
  /** Elements of an outermost array, or lines that are not blank. */
  events: number;
  values: number;
  /** Values of the largest event. */
  largest: number;
}

/** Form of a body: an event or a list of them, an event a line, or any JSON. */
export type BodyForm = 'events' | 'lines' | 'json';

/** Maximum values of one event whose contract has not more. */
const maxEventValues = 10_000;
/** Maximum values of a body per allowed event, and its minimum. */
const valuesPerEvent = 100;
const minMaxValues = 1_000_000;

/** Whether the client has not sent the rest of the body yet. */
export function isBodyMissing(c: Context): boolean {
  return c.get(bodyKey) === 'missing';
}

/**
 * Returns the text of a request's body, which is UTF-8; a byte order mark at its start is left out (RFC 8259,
 * 8.1).
 *
 * @param maxEvents - maximum number of events, or rows.
 * @param eventValues - maximum number of values of one event, by its contract.
 * @throws MillraceError `CONTENT_TYPE_UNSUPPORTED` (compressed, or another charset), `REQUEST_ABORTED`,
 *   `JSON_INVALID` (not UTF-8), `TOO_MANY_EVENTS`, `BODY_TOO_LARGE` (more values than this number of events
 *   has).
 */
export async function readText(
  c: Context,
  form: BodyForm,
  maxEvents: number,
  eventValues = 0,
): Promise<string> {
  refuseEncodings(c);
  const bytes = await readBytes(c);
  const { events, values, largest } = count(bytes, form);
  if (form !== 'json' && events > maxEvents) throw tooManyEvents(events, maxEvents);
  const maxValues = Math.max(minMaxValues, valuesPerEvent * maxEvents);
  const maxOfEvent = Math.min(Math.max(maxEventValues, eventValues), maxValues);
  if (form !== 'json' && largest > maxOfEvent) throw tooManyValues('An event', maxOfEvent);
  if (values > maxValues) throw tooManyValues('A body', maxValues);
  const text = new TextDecoder().decode(bytes);
  if (!isUtf8(bytes)) {
    const problem = `This is no JSON: it is not UTF-8 at byte ${firstInvalidByte(bytes)}.`;
    throw new MillraceError('JSON_INVALID', problem);
  }
  return text;
}

/** A request with more events than `MAX_EVENTS_PER_REQUEST`. */
export function tooManyEvents(events: number, maxEvents: number): MillraceError {
  return new MillraceError(
    'TOO_MANY_EVENTS',
    `The request has ${events} events; at most ${maxEvents} are taken. Send them in several requests, or raise MAX_EVENTS_PER_REQUEST.`,
  );
}

/** @throws MillraceError `JSON_INVALID` */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new MillraceError('JSON_INVALID', `This is no JSON: ${messageOf(error)}.`, { cause: error });
  }
}

/**
 * Returns a request's JSON body, with any content type, parsed by a schema.
 *
 * @throws MillraceError as {@link readText}, `JSON_INVALID`, `REQUEST_INVALID` that names each wrong member.
 */
export async function readJson<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  const result = schema.safeParse(parseJson(await readText(c, 'json', 1)));
  if (result.success) return result.data;
  const wrong = result.error.issues.map(({ path, message }) => `${path.join('.') || 'the body'}: ${message}`);
  throw new MillraceError('REQUEST_INVALID', `${wrong.join('; ')}.`);
}

function refuseEncodings(c: Context): void {
  if ((requestHeaders(c)['content-encoding'] ?? 'identity').toLowerCase() !== 'identity') {
    // RFC 7694: the encodings that a client may send instead.
    c.header('Accept-Encoding', 'identity');
    throw new MillraceError(
      'CONTENT_TYPE_UNSUPPORTED',
      'Compressed bodies are not read. Send it without Content-Encoding.',
    );
  }
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(requestHeaders(c)['content-type'] ?? '')?.[1];
  // ASCII is UTF-8 too.
  if (charset !== undefined && !/^(?:utf-?8|us-ascii)$/i.test(charset))
    throw new MillraceError(
      'CONTENT_TYPE_UNSUPPORTED',
      `The charset is '${charset.slice(0, 40)}'. JSON is UTF-8: send it so, with that charset or none.`,
    );
}

async function readBytes(c: Context): Promise<Uint8Array> {
  c.set(bodyKey, 'missing');
  const bytes = await c.req.arrayBuffer().catch((cause: unknown) => {
    throw new MillraceError('REQUEST_ABORTED', 'The client left before all of the body was here.', { cause });
  });
  c.set(bodyKey, 'read');
  return new Uint8Array(bytes);
}

const [lineFeed, space, quote, comma, backslash] = [0x0a, 0x20, 0x22, 0x2c, 0x5c];
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Counts in one pass over the bytes, which may be invalid JSON: the parser refuses that. */
function count(bytes: Uint8Array, form: BodyForm): Counts {
  const isList = form === 'events' && bytes.find((byte) => byte > space && byte < 0x80) === openList;
  const counts = { events: 0, values: 0, largest: 0 };
  let [depth, inString, isBlank, eventStart] = [0, false, true, 0];
  const endEvent = (): void => {
    if (!isBlank) counts.events++;
    counts.largest = Math.max(counts.largest, counts.values - eventStart);
    eventStart = counts.values;
    isBlank = true;
  };
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === lineFeed) {
      // A JSON string can't span lines.
      inString = false;
      if (form === 'lines') endEvent();
    }
    if (byte <= space) continue;
    isBlank = false;
    if (inString) {
      if (byte === backslash && bytes[at + 1] !== lineFeed) at++;
      inString = byte !== quote;
    } else if (byte === quote) {
      inString = true;
    } else if (byte === openList || byte === openObject) {
      counts.values++;
      depth++;
    } else if (byte === closeList || byte === closeObject) {
      depth--;
    } else if (byte === comma) {
      counts.values++;
      if (isList && depth === 1) endEvent();
    }
  }
  endEvent();
  return counts;
}

function tooManyValues(what: string, most: number): MillraceError {
  return new MillraceError(
    'BODY_TOO_LARGE',
    `${what} has at most ${most} JSON values, and this has more. Send less, or in several requests.`,
  );
}

/** The events of a request, not validated. */
export interface RequestEvents {
  /** Whether a single event was sent, not a list. */
  single: boolean;
  /** As they were sent; an invalid line is represented by its MillraceError. */
  events: unknown[];
}

const ndjsonTypes = new Set(['application/x-ndjson', 'application/ndjson', 'application/jsonl']);

/** Number of lines to parse before yielding to other work. */
const parsedAtOnce = 200;

/**
 * Reads one event, an array of events, or one event a line, by content type.
 *
 * @param eventValues - maximum number of JSON values of one event by its contract. An event may have 10,000
 *   in any case.
 * @throws MillraceError as {@link readText}, `BODY_EMPTY`, or `RATE_LIMITED`.
 */
export async function readRequestEvents(
  c: Context,
  maxEvents: number,
  eventValues?: number,
): Promise<RequestEvents> {
  const { single, events } = await readBody(c, maxEvents, eventValues);
  await takeEvents(c, events.length);
  return { single, events };
}

async function readBody(c: Context, maxEvents: number, eventValues?: number): Promise<RequestEvents> {
  const contentType = (requestHeaders(c)['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (contentType === 'application/json')
    return fromJson(await readText(c, 'events', maxEvents, eventValues));
  if (ndjsonTypes.has(contentType)) return fromLines(await readText(c, 'lines', maxEvents, eventValues));
  throw new MillraceError(
    'CONTENT_TYPE_UNSUPPORTED',
    `The content type is ${contentType === '' ? 'not set' : `'${contentType}'`}. Send application/json, or application/x-ndjson with one event a line.`,
  );
}

function fromJson(text: string): RequestEvents {
  const body = parseJson(text);
  if (!Array.isArray(body)) return { single: true, events: [body] };
  if (body.length === 0)
    throw new MillraceError('BODY_EMPTY', 'The array is empty. Send at least one event.');
  return { single: false, events: body };
}

async function fromLines(text: string): Promise<RequestEvents> {
  const events: unknown[] = [];
  for (let from = 0; ;) {
    // Millions of blank lines are skipped without a text for each.
    while (text.charCodeAt(from) <= space) from++;
    if (from >= text.length) break;
    const end = text.indexOf('\n', from);
    const to = end === -1 ? text.length : end;
    const line = text.slice(from, to).trim();
    from = to + 1;
    if (line === '') continue;
    events.push(parseLine(line));
    if (events.length % parsedAtOnce === 0) await nextTurn();
  }
  if (events.length === 0)
    throw new MillraceError('BODY_EMPTY', 'The body is empty. Send at least one event.');
  return { single: false, events };
}

function parseLine(line: string): unknown {
  try {
    return parseJson(line);
  } catch (error) {
    return error;
  }
}
