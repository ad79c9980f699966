import { expect, it } from 'vitest';
import type { RecordSchema } from './contracts.js';
import { fieldPaths, findPath, readPath } from './field-paths.js';

const schema: RecordSchema = {
  type: 'record',
  name: 'Order',
  fields: [
    { name: 'id', type: { type: 'string', logicalType: 'uuid' } },
    {
      name: 'customer',
      type: [
        'null',
        {
          type: 'record',
          name: 'Customer',
          fields: [
            { name: 'age', type: 'int' },
            { name: 'since', type: { type: 'int', logicalType: 'date' } },
            { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['A', 'B'] } },
          ],
        },
      ],
    },
    { name: 'readings', type: { type: 'array', items: 'double' }, minItems: 2, maxItems: 3 },
    { name: 'tags', type: { type: 'map', values: ['null', 'Customer'] } },
  ],
};

it('lists the values of a contract by path, with types', () => {
  const paths = fieldPaths({ schema }).map(({ path, type, nullable }) => [path, type, nullable]);
  expect(paths).toEqual([
    ['id', 'uuid', false],
    ['customer.age', 'int', true],
    ['customer.since', 'date', true],
    ['customer.kind', 'enum', true],
    ['readings', 'array of double', false],
    ['tags', 'map of record', false],
  ]);
});

it('finds any path that events may have', () => {
  const found = (path: string): unknown[] | undefined => {
    const at = findPath({ schema }, path);
    return at && [at.type, at.nullable];
  };
  expect(found('customer')).toEqual(['record', true]);
  expect(found('readings.1')).toEqual(['double', false]);
  expect(found('readings.2')).toEqual(['double', true]);
  expect(found('tags.any.age')).toEqual(['int', true]);
  for (const path of ['readings.3', 'readings.x', 'readings.01', 'customer.agee', 'id.0', '', 'customer.'])
    expect(found(path)).toBeUndefined();
});

it('reads values at paths, and only own ones', () => {
  const event = {
    customer: { age: 3 },
    readings: [1, 2],
    tags: { red: { age: null }, '': 5 },
    nothing: null,
  };
  for (const [path, value] of [
    ['customer.age', 3],
    ['readings', [1, 2]],
    ['readings.1', 2],
    ['tags.red.age', null],
    ['tags.', 5],
    ['readings.2', undefined],
    ['readings.length', undefined],
    ['readings.-0', undefined],
    ['tags.blue', undefined],
    ['tags.constructor', undefined],
    ['tags.__proto__', undefined],
    ['nothing.more', undefined],
    ['customer.age.more', undefined],
  ])
    expect(readPath(event, path as string)).toEqual(value);
});
