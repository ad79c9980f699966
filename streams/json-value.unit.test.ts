import { expect, test } from 'vitest';
import { jsonObject } from './json-value.js';

test.each([
  ['on one line', '{"a":1}'],
  ['printed pretty', '{\n  "a": 1\n}\n'],
  ['after white space', ' \r\n\t{"a":1}'],
  ['after a byte order mark', '\ufeff{"a":1}'],
])('an object %s is read', (_how, text) => {
  expect(jsonObject(Buffer.from(text))).toEqual({ a: 1 });
});

test.each([
  ['nothing', null],
  ['no bytes', Buffer.alloc(0)],
  ['wire format', Buffer.from([0, 0, 0, 0, 0x7b, 0x7d])],
  ['text', Buffer.from('not avro at all')],
  ['bytes', Buffer.from([0xff, 0xfe, 0x7b])],
])('%s is no JSON', (_what, value) => {
  expect(jsonObject(value)).toBeUndefined();
});

test.each([
  ['cut off', '{"a":1', 'begins as JSON, and is none'],
  ['two on one line', '{"a":1}{"a":2}', 'Send one JSON object a record'],
  ['NaN', '{"a":NaN}', 'begins as JSON, and is none'],
  ['an array', '[{"a":1}]', 'The value is JSON, and no object'],
  ['a number', '42', 'The value is JSON, and no object'],
  ['a string', '"{}"', 'The value is JSON, and no object'],
  ['null', 'null', 'The value is JSON, and no object'],
])('%s is refused with a reason', (_what, text, words) => {
  expect(() => jsonObject(Buffer.from(text))).toThrow(words);
});

test('invalid UTF-8 is refused with the position of its first byte', () => {
  const bytes = Buffer.concat([Buffer.from('{"a":"é\ufffd'), Buffer.from([0xfc]), Buffer.from('"}')]);
  expect(() => jsonObject(bytes)).toThrow('not UTF-8 at byte 11');
});

test('deep nesting is read or refused, and a prototype is a key like any other', () => {
  const deep = '{"a":'.repeat(200_000) + '1' + '}'.repeat(200_000);
  try {
    jsonObject(Buffer.from(deep));
  } catch (error) {
    expect(error).toMatchObject({ code: 'JSON_INVALID' });
  }
  const value = jsonObject(Buffer.from('{"__proto__":{"a":1}}'));
  expect(Object.keys(value ?? {})).toEqual(['__proto__']);
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
});
