import { expect, test } from 'vitest';
import { toStreamRecord } from './records.js';

test('a header may have any name', () => {
  const names = ['__proto__', 'constructor', 'toString', ''];
  const record = toStreamRecord('t', 0, {
    offset: '5',
    timestamp: '7',
    attributes: 0,
    key: null,
    value: null,
    headers: Object.fromEntries(names.map((name) => [name, Buffer.from(`of ${name}`)])),
  });
  expect(Object.keys(record.headers).toSorted()).toEqual(names.toSorted());
  for (const name of names) expect(String(record.headers[name])).toBe(`of ${name}`);
  expect(record.headers['valueOf']).toBeUndefined();
});

test('the last value of a repeated header counts', () => {
  const headers = { twice: ['a', Buffer.from('b')] };
  const message = { offset: '0', timestamp: '0', attributes: 0, key: null, value: null, headers };
  expect(toStreamRecord('t', 0, message).headers['twice']).toEqual(Buffer.from('b'));
});
