import { MillraceError } from '../../platform/errors.js';
import { isStorable } from '../../analytics/rows.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import { type EventField, eventShape, type FieldType } from '../../schemas/field-types.js';
import { isAmbiguousNumber } from '../../schemas/number-text.js';
import { isNumberType } from '../../schemas/number-types.js';

/** The properties of a message that matter for its event. */
interface BodyProperties {
  messageId?: unknown;
  /** Seconds since 1970. */
  timestamp?: unknown;
  contentEncoding?: unknown;
}

/** Reads messages of one contract leniently, as consumers of queues usually do. */
export type ReadBody = (content: Buffer, properties: BodyProperties) => object | MillraceError;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** JSON's syntax of numbers; a text in this syntax counts as a number. */
const numberText = /^\s*[+-]?\d+(\.\d+)?([eE][+-]?\d+)?\s*$/;

function isNumberText(value: string): boolean {
  return numberText.test(value) && !isAmbiguousNumber(value);
}

/** Envelope fields that a body may contain, as over HTTP. */
const envelope = ['event_id', 'event_time'];

/**
 * Returns a reader of JSON bodies. Unknown members are dropped, also of nested records, and numeric text is
 * accepted for a number (`20000.0` is a whole number in JSON already). The property `message_id` is the
 * event's id, `timestamp` its time. The values are validated later, as over HTTP.
 */
export function bodyReader(contract: RecordSchema): ReadBody {
  const { fields } = eventShape(contract);
  const readFields = fieldsReader(fields);
  const hasOwnTime = fields.some(({ name }) => name === 'event_time');
  return (content, { messageId, timestamp, contentEncoding }) => {
    let body: unknown;
    try {
      body = JSON.parse(utf8.decode(content));
    } catch (error) {
      const why = compression(contentEncoding) || ` ${String(error)}.`;
      return new MillraceError('JSON_INVALID', `The message is not JSON in UTF-8.${why}`);
    }
    if (typeof body !== 'object' || body === null || Array.isArray(body))
      return new MillraceError('EVENT_INVALID', 'The message must be one JSON object.');
    const given = body as Record<string, unknown>;
    const event = readFields(given);
    for (const name of envelope) if (given[name] !== undefined) event[name] ??= given[name];
    if (typeof messageId === 'string' && messageId !== '') event['event_id'] = messageId;
    const time = typeof timestamp === 'number' ? timestamp * 1000 : Number.NaN;
    if (isStorable(time) && !hasOwnTime) event['event_time'] = new Date(time).toISOString();
    return event;
  };
}

type Read = (value: unknown) => unknown;

/** Keeps the contract's order, which is the fastest to validate. */
function fieldsReader(
  fields: readonly EventField[],
): (values: Record<string, unknown>) => Record<string, unknown> {
  const reads = fields.map(({ name, type }) => [name, reader(type)] as const);
  return (values) => {
    const kept: Record<string, unknown> = {};
    for (const [name, read] of reads) if (Object.hasOwn(values, name)) kept[name] = read(values[name]);
    return kept;
  };
}

/** Nested values are read as leniently. */
function reader(type: FieldType): Read {
  if (isNumberType(type))
    return (value) => (typeof value === 'string' && isNumberText(value) ? Number(value) : value);
  if (type.kind === 'array') {
    const read = reader(type.items);
    return (value) => (Array.isArray(value) ? value.map(read) : value);
  }
  if (type.kind !== 'record' && type.kind !== 'map') return (value) => value;
  const read = type.kind === 'record' ? fieldsReader(type.fields) : entriesReader(reader(type.values));
  return (value) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? read(value as Record<string, unknown>)
      : value;
}

function entriesReader(read: Read) {
  return (values: Record<string, unknown>): Record<string, unknown> =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, read(value)]));
}

/** Describes how a body is compressed, if its sender says so. */
function compression(encoding: unknown): string {
  const isOne =
    typeof encoding === 'string' && /^(x-)?(gzip|deflate|br|zstd|compress|bzip2|zlib|lzma)$/i.test(encoding);
  return isOne ? ` It is compressed (content_encoding ${encoding}): send it as it is.` : '';
}
