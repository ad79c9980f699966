import { MillraceError } from '../../platform/errors.js';
import { isStorable } from '../../analytics/rows.js';
import type { AvroType, ContractField, RecordSchema } from '../../schemas/contracts.js';
import { isAmbiguousNumber } from '../../schemas/number-text.js';

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
 * Returns a reader of JSON bodies. Unknown members are dropped, and numeric text is accepted for a number
 * (`20000.0` is a whole number in JSON already). The property `message_id` is the event's id, `timestamp` its
 * time. The values are validated later, as over HTTP.
 */
export function bodyReader(contract: RecordSchema): ReadBody {
  const fields = contract.fields.map((field) => ({ name: field.name, numeric: isNumeric(field) }));
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
    const event: Record<string, unknown> = {};
    // In the contract's order, which is the fastest to validate.
    for (const { name, numeric } of fields) {
      const value = given[name];
      if (value === undefined) continue;
      event[name] = numeric && typeof value === 'string' && isNumberText(value) ? Number(value) : value;
    }
    for (const name of envelope) if (given[name] !== undefined) event[name] = given[name];
    if (typeof messageId === 'string' && messageId !== '') event['event_id'] = messageId;
    const time = typeof timestamp === 'number' ? timestamp * 1000 : Number.NaN;
    if (isStorable(time)) event['event_time'] = new Date(time).toISOString();
    return event;
  };
}

/** Also of a type with an attribute, such as `{"type": "long", "logicalType": "timestamp-millis"}`. */
function isNumeric({ type }: ContractField): boolean {
  const branches: AvroType[] = Array.isArray(type) ? type : [type];
  return branches.some((branch) => numeric.has(nameOf(branch)));
}

const numeric: ReadonlySet<unknown> = new Set(['int', 'long', 'float', 'double']);

function nameOf(type: unknown): unknown {
  return typeof type === 'object' && type !== null && 'type' in type ? nameOf(type.type) : type;
}

/** Describes how a body is compressed, if its sender says so. */
function compression(encoding: unknown): string {
  const isOne =
    typeof encoding === 'string' && /^(x-)?(gzip|deflate|br|zstd|compress|bzip2|zlib|lzma)$/i.test(encoding);
  return isOne ? ` It is compressed (content_encoding ${encoding}): send it as it is.` : '';
}
