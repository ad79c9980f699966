import { expect, it } from 'vitest';
import { printable, printableBytes } from './printable.js';

/** What a terminal acts on, beside the line breaks that are ours. */
const harmful = /[^\P{C}\n]/u;

it.each([
  ['\u001b[2J', '\\u001b[2J'],
  ['\u009b31m', '\\u009b31m'],
  ['a\rb\nc\u0000', 'a\\u000db\\u000ac\\u0000'],
  ['\u202eevil', '\\u202eevil'],
  ['\ud800', '\\ud800'],
  ['Grüße, 東京 🚕', 'Grüße, 東京 🚕'],
])('%j is shown as %s', (text, shown) => {
  expect(printable(text)).toBe(shown);
});

it('keeps the meaning of JSON', () => {
  const value = { 'a\u009b': 'b\u001b\u2028\u{e0001}', c: 'ü' };
  expect(JSON.parse(printable(JSON.stringify(value)))).toEqual(value);
});

it('shows text with several lines or a cut character as text', () => {
  expect(printableBytes(Buffer.from('{"a": "ü"}\nb'))).toBe('{"a": "ü"}\nb');
  expect(printableBytes(Buffer.from('aaaü'), 4)).toBe('aaa\uFFFD\n… and 1 bytes more');
});

it('shows binary data in hex', () => {
  const shown = printableBytes(
    Buffer.from([0, 1, 2, 0x41, 0x1b, 0xff, ...Buffer.from('more than one line')]),
  );
  expect(shown).toBe(
    '000000  00 01 02 41 1b ff 6d 6f 72 65 20 74 68 61 6e 20  ...A..more than \n' +
      '000010  6f 6e 65 20 6c 69 6e 65                          one line',
  );
});

it('escapes all control characters in arbitrary bytes', () => {
  const all = Buffer.from(Array.from({ length: 512 }, (_, index) => (index * 7) % 256));
  expect(printableBytes(all)).not.toMatch(harmful);
  expect(printableBytes(Buffer.from('\u001b]0;title\u0007'))).not.toMatch(harmful);
  expect(printableBytes(Buffer.from('\u009b31m'))).not.toMatch(harmful);
});
