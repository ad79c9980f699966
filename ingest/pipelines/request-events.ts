import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Context } from 'hono';
import { MillraceError } from '../../platform/errors.js';
import { takeEvents } from '../middleware/limit-requests.js';
import { parseJson, readText } from '../request-body.js';

/** The events of a request, not validated. */
export interface RequestEvents {
  /** Whether one event was sent as such, not in a list. */
  single: boolean;
  /** As they were sent; a line that is no JSON stands as its MillraceError. */
  events: unknown[];
}

const ndjsonTypes = new Set(['application/x-ndjson', 'application/ndjson', 'application/jsonl']);

/** Lines that are parsed before other work gets its turn. */
const parsedAtOnce = 200;
const space = 0x20;

/**
 * Reads one event, an array of events, or one event a line, by content type.
 *
 * @throws MillraceError as {@link readText}, `BODY_EMPTY`, or `RATE_LIMITED`.
 */
export async function readRequestEvents(c: Context, maxEvents: number): Promise<RequestEvents> {
  const { single, events } = await readBody(c, maxEvents);
  await takeEvents(c, events.length);
  return { single, events };
}

async function readBody(c: Context, maxEvents: number): Promise<RequestEvents> {
  const contentType = (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (contentType === 'application/json') return fromJson(await readText(c, 'events', maxEvents));
  if (ndjsonTypes.has(contentType)) return fromLines(await readText(c, 'lines', maxEvents));
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
    // Millions of blank lines are passed over without a text for each.
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
