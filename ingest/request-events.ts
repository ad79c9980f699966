import type { Context } from 'hono';
import { MillraceError, messageOf } from '../platform/errors.js';
import { takeEvents } from './limit-requests.js';

/** The events of a request, not validated. */
export interface RequestEvents {
  /** Whether one event was sent as such, not in a list. */
  single: boolean;
  /** As they were sent; a line that is no JSON stands as its MillraceError. */
  events: unknown[];
}

const ndjsonTypes = new Set(['application/x-ndjson', 'application/ndjson', 'application/jsonl']);

/**
 * Reads one event, an array of events, or one event a line, by content type.
 *
 * @throws MillraceError `CONTENT_TYPE_UNSUPPORTED`, `JSON_INVALID`, `BODY_EMPTY`, `TOO_MANY_EVENTS`, or `RATE_LIMITED`.
 */
export async function readRequestEvents(c: Context, maxEvents: number): Promise<RequestEvents> {
  const { single, events } = await readBody(c);
  if (events.length <= maxEvents) {
    await takeEvents(c, events.length);
    return { single, events };
  }
  throw new MillraceError(
    'TOO_MANY_EVENTS',
    `The request has ${events.length} events; at most ${maxEvents} are taken. Send them in several requests, or raise MAX_EVENTS_PER_REQUEST.`,
  );
}

async function readBody(c: Context): Promise<RequestEvents> {
  if ((c.req.header('content-encoding') ?? 'identity') !== 'identity') {
    throw new MillraceError(
      'CONTENT_TYPE_UNSUPPORTED',
      'Compressed bodies are not read. Send it without Content-Encoding.',
    );
  }
  const contentType = (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (contentType === 'application/json') return fromJson(await c.req.text());
  if (ndjsonTypes.has(contentType)) return fromLines(await c.req.text());
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

function fromLines(text: string): RequestEvents {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length === 0)
    throw new MillraceError('BODY_EMPTY', 'The body is empty. Send at least one event.');
  return { single: false, events: lines.map(parseLine) };
}

function parseLine(line: string): unknown {
  try {
    return parseJson(line);
  } catch (error) {
    return error;
  }
}

/** @throws MillraceError `JSON_INVALID` */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new MillraceError('JSON_INVALID', `This is no JSON: ${messageOf(error)}.`, { cause: error });
  }
}
