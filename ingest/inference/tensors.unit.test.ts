import { expect, it } from 'vitest';
import type { RecordSchema } from '../../schemas/contracts.js';
import { eventTensors } from './event-tensors.js';
import { parseInferRequest, toRows } from './tensors.js';

const order: RecordSchema = {
  type: 'record',
  name: 'Order',
  fields: [
    { name: 'id', type: 'long' },
    { name: 'note', type: ['null', 'string'], default: null },
    {
      name: 'customer',
      type: {
        type: 'record',
        name: 'Customer',
        fields: [
          { name: 'age', type: 'int' },
          {
            name: 'address',
            type: [
              'null',
              {
                type: 'record',
                name: 'Address',
                fields: [
                  { name: 'city', type: 'string' },
                  { name: 'floor', type: ['null', 'int'] },
                ],
              },
            ],
          },
        ],
      },
    },
    { name: 'window', type: { type: 'array', items: 'double' }, minItems: 3, maxItems: 3 },
    { name: 'grid', type: { type: 'array', items: { type: 'array', items: ['null', 'float'] } } },
    { name: 'flags', type: ['null', { type: 'array', items: 'boolean' }] },
    { name: 'counts', type: ['null', { type: 'array', items: ['null', 'int'] }], default: null },
    { name: 'words', type: { type: 'array', items: 'string' } },
    { name: 'gaps', type: { type: 'array', items: ['null', { type: 'array', items: 'int' }] } },
    { name: 'tags', type: ['null', { type: 'map', values: 'double' }] },
    { name: 'kind', type: { type: 'enum', name: 'OrderKind', symbols: ['A', 'B'] } },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
  ],
};

/** A tensor of the requests. */
interface Tensor {
  name: string;
  datatype: string;
  shape: number[];
  data: unknown[];
}

const tensor = (name: string, datatype: string, shape: number[], data: unknown[]): Tensor => ({
  name,
  datatype,
  shape,
  data,
});

function rowsOf(...inputs: Tensor[]): Record<string, unknown>[] {
  return toRows(parseInferRequest({ inputs }), order);
}

it('gives every value of a contract an input, with its type and shape', () => {
  expect(eventTensors(order).map(({ name, datatype, shape }) => [name, datatype, shape])).toEqual([
    ['id', 'INT64', [-1]],
    ['note', 'BYTES', [-1]],
    ['customer.age', 'INT32', [-1]],
    ['customer.address.city', 'BYTES', [-1]],
    ['customer.address.floor', 'INT32', [-1]],
    ['window', 'FP64', [-1, 3]],
    ['grid', 'FP32', [-1, -1, -1]],
    ['flags', 'BOOL', [-1, -1]],
    ['counts', 'INT32', [-1, -1]],
    ['words', 'BYTES', [-1]],
    ['gaps', 'BYTES', [-1]],
    ['tags', 'BYTES', [-1]],
    ['kind', 'BYTES', [-1]],
    ['at', 'INT64', [-1]],
  ]);
});

it('makes records of their fields, and null of a nullable one without values', () => {
  const rows = rowsOf(
    tensor('customer.age', 'INT32', [3], [30, 40, 50]),
    tensor('customer.address.city', 'BYTES', [3], ['Kiel', null, null]),
    tensor('customer.address.floor', 'INT8', [3, 1], [null, null, 2]),
  );
  expect(rows).toEqual([
    { customer: { age: 30, address: { city: 'Kiel', floor: null } } },
    { customer: { age: 40, address: null } },
    // The contract then says what is missing.
    { customer: { age: 50, address: { city: null, floor: 2 } } },
  ]);
});

it('reads lists from flat and from nested data', () => {
  const expected = [{ window: [1, 2, 3] }, { window: [4, 5, 6] }];
  expect(rowsOf(tensor('window', 'FP32', [2, 3], [1, 2, 3, 4, 5, 6]))).toEqual(expected);
  expect(rowsOf(tensor('window', 'FP32', [2, 3], [[1, 2, 3], [4, 5, 6]]))).toEqual(expected); // prettier-ignore
  const grid = [{ grid: [[1, null], [3, 4], [5, 6]] }]; // prettier-ignore
  expect(rowsOf(tensor('grid', 'FP32', [1, 3, 2], [1, null, 3, 4, 5, 6]))).toEqual(grid);
  expect(rowsOf(tensor('grid', 'FP32', [1, 3, 2], [[[1, null], [3, 4], [5, 6]]]))).toEqual(grid); // prettier-ignore
  expect(rowsOf(tensor('flags', 'BOOL', [2, 1], [[true], null]))).toEqual([
    { flags: [true] },
    { flags: null },
  ]);
  expect(rowsOf(tensor('flags', 'BOOL', [2, 0], []))).toEqual([{ flags: [] }, { flags: [] }]);
});

it('reads null in flat data as an element, and among lists as no list', () => {
  const counts = (shape: number[], ...data: unknown[]): unknown[] =>
    rowsOf(tensor('counts', 'INT32', shape, data)).map((row) => row['counts']);
  expect(counts([2, 1], 5, null)).toEqual([[5], [null]]);
  expect(counts([2, 1], null, null)).toEqual([[null], [null]]);
  expect(counts([2, 1], [5], null)).toEqual([[5], null]);
  expect(counts([1, 2], null, 5)).toEqual([[null, 5]]);
  expect(counts([2, 2], null, null)).toEqual([null, null]);
  expect(counts([2, 2], [null, 1], null)).toEqual([[null, 1], null]);
  expect(rowsOf(tensor('flags', 'BOOL', [2, 1], [null, null]))).toEqual([{ flags: null }, { flags: null }]);
});

it('reads maps, other lists, and lists of different lengths as JSON text', () => {
  expect(
    rowsOf(
      tensor('tags', 'BYTES', [3], ['{"a":1}', null, 'null']),
      tensor('words', 'BYTES', [3, 1], ['["x"]', '[]', '["y","z"]']),
      tensor('grid', 'BYTES', [3], ['[[1],[2,3]]', '[]', '[[]]']),
    ),
  ).toEqual([
    { tags: { a: 1 }, words: ['x'], grid: [[1], [2, 3]] },
    { tags: null, words: [], grid: [] },
    { tags: null, words: ['y', 'z'], grid: [[]] },
  ]);
});

it('reads times as numbers and as text', () => {
  const rows = [{ at: 1 }, { at: '2026-01-31T12:00:00Z' }];
  expect(rowsOf(tensor('at', 'INT64', [1], [1]))).toEqual([rows[0]]);
  expect(rowsOf(tensor('at', 'BYTES', [1], ['2026-01-31T12:00:00Z']))).toEqual([rows[1]]);
  expect(() => rowsOf(tensor('at', 'BOOL', [1], [true]))).toThrow('or BYTES with times as text');
});

it('takes null for what may be null, and only there', () => {
  expect(rowsOf(tensor('note', 'BYTES', [1], [null]), tensor('id', 'INT64', [1], [1]))).toEqual([
    { note: null, id: 1 },
  ]);
  for (const [name, datatype, shape] of [
    ['id', 'INT64', [1]],
    ['kind', 'BYTES', [1]],
    ['words', 'BYTES', [1]],
  ] as const)
    expect(() => rowsOf(tensor(name, datatype, [...shape], [null]))).toThrow(`Row 0, ${name}: null is no`);
  expect(() => rowsOf(tensor('window', 'FP64', [1, 3], [1, null, 3]))).toThrow('Row 0, window: null is no');
});

it.each<[string, Tensor, string]>([
  ['of another length', tensor('window', 'FP64', [1, 4], [1, 2, 3, 4]), '[1, 4]. It takes [N, 3].'],
  ['without its dimension', tensor('window', 'FP64', [3], [1, 2, 3]), '[3]. It takes [N, 3].'],
  ['with too many dimensions', tensor('id', 'INT64', [1, 1, 1], [1]), 'one element a row'],
  ['with fewer elements', tensor('grid', 'FP32', [1, 2, 2], [1, 2, 3]), '3 elements, its shape says 4'],
  ['nested otherwise', tensor('grid', 'FP32', [1, 2, 2], [[[1, 2], [3]]]), 'Row 0, grid: it is no list of 2'],
  ['without elements', tensor('grid', 'FP32', [1, 4_000_000_000, 0], []), 'lists without elements'],
  [
    'of texts',
    tensor('window', 'BYTES', [1], ['[1, 2']),
    'Row 0, window: an element of this input is JSON text',
  ],
  [
    'of another type',
    tensor('window', 'BOOL', [1, 3], [true, true, true]),
    'or BYTES with the JSON of a list',
  ],
  ['with a text', tensor('window', 'FP64', [1, 3], [1, 'two', 3]), 'Row 0, window: "two" is no element'],
  [
    'of a record',
    tensor('customer', 'BYTES', [1], ['{}']),
    'There are: event_id, event_time, id, note, customer.age',
  ],
])('refuses a tensor %s', (_, wrong, message) => {
  expect(() => rowsOf(wrong)).toThrow(message);
});

it('writes only into the event, whatever its fields are called', () => {
  const contract: RecordSchema = {
    type: 'record',
    name: 'Race',
    fields: ['constructor', 'toString'].map((name) => ({
      name,
      type: { type: 'record', name: `${name}Record`, fields: [{ name: 'points', type: 'int' }] },
    })),
  };
  const inputs = ['constructor', 'toString'].map((name) => tensor(`${name}.points`, 'INT32', [1], [7]));
  const [row] = toRows(parseInferRequest({ inputs }), contract);
  expect(JSON.stringify(row)).toBe('{"constructor":{"points":7},"toString":{"points":7}}');
  for (const name of ['constructor', 'toString'])
    expect(Reflect.get(Object.prototype, name)).not.toHaveProperty('points');
});
