import { isUtf8 } from 'node:buffer';
import { MillraceError, messageOf } from '../platform/errors.js';
import { firstInvalidByte } from '../platform/utf8.js';

const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf]);
const openingBrace = 0x7b;

/**
 * Parses the object in a JSON record value: one whose first byte, after an optional byte order mark and white
 * space, is `{`. A value in Confluent wire format starts with a zero byte instead. The last of several equal
 * keys counts.
 *
 * @returns `undefined` for values that are not JSON, such as Avro.
 * @throws MillraceError `JSON_INVALID` when it begins as an object and is none, is not UTF-8, or is JSON of
 *   another kind.
 */
export function jsonObject(value: Buffer | null): object | undefined {
  if (value === null || value[0] === 0) return undefined;
  const start = value.indexOf(byteOrderMark) === 0 ? byteOrderMark.length : 0;
  let position = start;
  while (isSpace(value[position])) position++;
  if (value[position] === openingBrace) return parseObject(value, start);
  if (isOtherJson(value.toString('utf8', start)))
    throw new MillraceError(
      'JSON_INVALID',
      'The value is JSON, and no object: each record takes one object, {"field": value, …}.',
    );
  return undefined;
}

function parseObject(value: Buffer, start: number): object {
  if (!isUtf8(value))
    throw new MillraceError(
      'JSON_INVALID',
      `The value is JSON, and not UTF-8 at byte ${firstInvalidByte(value)}.`,
    );
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- JSON that begins with a brace
    return JSON.parse(value.toString('utf8', start)) as object;
  } catch (error) {
    const advice = 'Send one JSON object a record, or Avro in Confluent wire format';
    throw new MillraceError(
      'JSON_INVALID',
      `The value begins as JSON, and is none: ${messageOf(error)}. ${advice}.`,
      { cause: error },
    );
  }
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isOtherJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
