import { describe, expect, it } from 'vitest';
import type { MillraceError } from '../../platform/errors.js';
import { loadContract } from '../../schemas/contracts.js';
import { bodyReader } from './message-body.js';

const read = bodyReader(loadContract('credit-default', 'event').schema);
const body = (value: unknown, properties = {}): object | MillraceError =>
  read(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), properties);

describe('a message’s body', () => {
  it('may have members that the contract does not have', () => {
    expect(body({ ID: 1, AGE: 30, timestamp: 'now', 'default payment next month': 0 })).toEqual({ AGE: 30 });
  });

  it('may write whole numbers as floats, and numbers as text', () => {
    expect(body('{"AGE": 30.0, "LIMIT_BAL": "2e4", "SEX": " 1 "}')).toEqual({
      LIMIT_BAL: 20_000,
      SEX: 1,
      AGE: 30,
    });
  });

  it.each(['', 'x', '0x1f', '1,5', '90.000', 'NaN', 'Infinity', true, null, [30]])(
    'keeps %j unchanged, for the contract to refuse',
    (AGE) => {
      expect(body({ AGE })).toEqual({ AGE });
    },
  );

  it('gets id and time from the properties', () => {
    expect(body({ AGE: 30 }, { messageId: 'm', timestamp: 1_700_000_000 })).toEqual({
      AGE: 30,
      event_id: 'm',
      event_time: '2023-11-14T22:13:20.000Z',
    });
  });

  it('may contain its id; the message’s id takes precedence, an empty one is ignored', () => {
    expect(body({ event_id: 'own' })).toEqual({ event_id: 'own' });
    expect(body({ event_id: 'own' }, { messageId: 'm' })).toEqual({ event_id: 'm' });
    expect(body({ event_id: 'own' }, { messageId: '' })).toEqual({ event_id: 'own' });
  });

  it.each([-1e15, 1e300, Number.NaN, '1700000000'])('ignores the time %s', (timestamp) => {
    expect(body({}, { timestamp })).toEqual({});
  });

  it.each([
    ['', 'JSON_INVALID'],
    ['{"AGE": NaN}', 'JSON_INVALID'],
    ['[1]', 'EVENT_INVALID'],
    ['null', 'EVENT_INVALID'],
    ['"text"', 'EVENT_INVALID'],
  ])('%j is none', (text, code) => {
    expect(body(text)).toMatchObject({ code });
  });

  it('must be UTF-8', () => {
    expect(read(Buffer.from([0x22, 0xff, 0x22]), {})).toMatchObject({ code: 'JSON_INVALID' });
  });

  it('may write numbers of any type as text, including times', () => {
    const fields = [
      { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
      { name: 'maybe', type: ['null', { type: 'double' }] },
      { name: 'text', type: { type: 'string' } },
    ];
    const tolerant = bodyReader({ type: 'record', name: 'any', fields } as unknown as Parameters<
      typeof bodyReader
    >[0]);
    const given = { at: '1769795100000', maybe: '0.5', text: '7' };
    expect(tolerant(Buffer.from(JSON.stringify(given)), {})).toEqual({
      at: 1_769_795_100_000,
      maybe: 0.5,
      text: '7',
    });
  });

  it('is reported as compressed when that is the cause', () => {
    const compressed = Buffer.from([0x1f, 0x8b, 8, 0]);
    const message = (contentEncoding: string): string =>
      (read(compressed, { contentEncoding }) as MillraceError).message;
    expect(message('gzip')).toContain('compressed (content_encoding gzip)');
    expect(message('utf-8')).not.toContain('compressed');
  });
});

it('reads nested values as leniently as others', () => {
  const line = { type: 'record', name: 'Line', fields: [{ name: 'price', type: 'double' }] } as const;
  const readOrder = bodyReader({
    type: 'record',
    name: 'Order',
    fields: [
      { name: 'lines', type: { type: 'array', items: { ...line, fields: [...line.fields] } } },
      { name: 'first', type: ['null', 'Line'] },
      { name: 'at', type: { type: 'map', values: { type: 'long', logicalType: 'timestamp-millis' } } },
      { name: 'note', type: 'string' },
    ],
  });
  const given = (order: object): unknown => readOrder(Buffer.from(JSON.stringify(order)), {});
  expect(
    given({
      note: '5',
      at: { a: '1769795100000', b: '2026-01-31' },
      first: { price: '2', of_another_program: true },
      lines: [{ price: '1.5', more: 1 }, null, 'x', { price: '1,5' }],
    }),
  ).toEqual({
    lines: [{ price: 1.5 }, null, 'x', { price: '1,5' }],
    first: { price: 2 },
    at: { a: 1_769_795_100_000, b: '2026-01-31' },
    note: '5',
  });
  // As they came, for the contract to refuse.
  const wrong = { lines: { 0: 1 }, first: [1], at: 5 };
  expect(given(wrong)).toEqual(wrong);
  const special = readOrder(Buffer.from('{"at": {"__proto__": "7"}, "constructor": 1}'), {}) as {
    at: object;
  };
  expect(Object.entries(special.at)).toEqual([['__proto__', 7]]);
  expect(Object.keys(special)).toEqual(['at']);
});

it('a field of the contract with the envelope’s name is read as a field', () => {
  const readOwn = bodyReader({
    type: 'record',
    name: 'Own',
    fields: [
      { name: 'event_id', type: 'string' },
      { name: 'event_time', type: 'long' },
    ],
  });
  const given = Buffer.from('{"event_id": "own", "event_time": "5"}');
  expect(readOwn(given, { timestamp: 1_700_000_000 })).toEqual({ event_id: 'own', event_time: 5 });
  expect(readOwn(given, { messageId: 'm' })).toEqual({ event_id: 'm', event_time: 5 });
});
