import { describe, expect, test } from 'vitest';
import { canonicalText, incompatibilities, parseSchema } from './avro.js';

const record = (...fields: object[]) => JSON.stringify({ type: 'record', name: 'R', fields });
const a = { name: 'a', type: 'int' };

const deep = (levels: number) => '{"type":"array","items":'.repeat(levels) + '"int"' + '}'.repeat(levels);

/** Each record has two fields of the next one, defined in the first: 2^levels ways to the last. */
function waysDouble(levels: number): string {
  let inner: object = { type: 'record', name: `R${levels}`, fields: [{ name: 'n', type: 'null' }] };
  for (let level = levels - 1; level >= 0; level--) {
    const next = `R${level + 1}`;
    const fields = [
      { name: 'a', type: inner },
      { name: 'b', type: next },
      { name: 'c', type: ['null', next] },
    ];
    inner = { type: 'record', name: `R${level}`, fields };
  }
  return JSON.stringify(inner);
}

describe('canonicalText', () => {
  test('is the same for other white space and key order', () => {
    expect(canonicalText('{ "type": "record", "name": "R", "fields": [] }')).toBe(
      canonicalText('{"name":"R","fields":[],"type":"record"}'),
    );
  });

  test.each([
    ['defaults', record(a), record({ ...a, default: 1 })],
    ['docs', record(a), record({ ...a, doc: 'x' })],
    ['order of fields', record(a, { name: 'b', type: 'int' }), record({ name: 'b', type: 'int' }, a)],
    ['a key that an object would lose', '{"type":"int","__proto__":1}', '{"type":"int"}'],
  ])('differs by %s', (_, one, other) => {
    expect(canonicalText(one)).not.toBe(canonicalText(other));
  });
});

describe('parseSchema refuses', () => {
  test.each([
    ['what is no JSON', 'string'],
    ['what is no schema', '{"type":"nothing"}'],
    ['two fields of one name', record(a, a)],
    ['a default of another type', record({ ...a, default: 'x' })],
    ['deep nesting', deep(301)],
    ['very deep nesting', deep(30_000)],
    [
      'too many parts',
      JSON.stringify({ type: 'enum', name: 'E', symbols: Array.from({ length: 20_001 }, (_, i) => `S${i}`) }),
    ],
    ['items of null', '{"type":"array","items":"null"}'],
    ['items of an empty fixed', '{"type":"array","items":{"type":"fixed","name":"F","size":0}}'],
    [
      'items of records of nulls',
      record({
        name: 'l',
        type: { type: 'array', items: { type: 'record', name: 'E', fields: [{ name: 'n', type: 'null' }] } },
      }),
    ],
    [
      'empty items inside a union inside a map',
      '{"type":"map","values":["null",{"type":"array","items":"null"}]}',
    ],
  ])('%s', (_, schema) => {
    expect(() => parseSchema(schema)).toThrow(expect.objectContaining({ code: 'INVALID_SCHEMA' }));
  });

  test.each([
    ['a list of itself', record({ name: 'next', type: { type: 'array', items: 'R' } })],
    ['a logical type', record({ name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } })],
    ['50 levels', deep(50)],
  ])('but not %s', (_, schema) => {
    expect(incompatibilities(parseSchema(schema), parseSchema(schema), 'FULL')).toEqual([]);
  });

  test('and is fast for records that reach each other in very many ways', () => {
    const schema = waysDouble(40);
    expect(incompatibilities(parseSchema(schema), parseSchema(schema), 'FULL')).toEqual([]);
  });
});

describe('incompatibilities', () => {
  const b = { name: 'b', type: 'int' };
  const bWithDefault = { ...b, default: 0 };

  test.each([
    ['same', record(a), record(a), true, true],
    ['a field more', record(a, b), record(a), false, true],
    ['a field with default more', record(a, bWithDefault), record(a), true, true],
    ['a field less', record(a), record(a, b), true, false],
    ['a field with default less', record(a), record(a, bWithDefault), true, true],
    ['int to long', record({ name: 'a', type: 'long' }), record(a), true, false],
    ['long to int', record(a), record({ name: 'a', type: 'long' }), false, true],
    ['int to string', record({ name: 'a', type: 'string' }), record(a), false, false],
    ['to a union with null', record({ name: 'a', type: ['null', 'int'] }), record(a), true, true],
    ['to a union without it', record({ name: 'a', type: ['null', 'string'] }), record(a), false, false],
    [
      'another branch',
      record({ name: 'a', type: ['null', 'int', 'string'] }),
      record({ name: 'a', type: ['null', 'int'] }),
      true,
      true,
    ],
    [
      'a symbol more',
      '{"type":"enum","name":"E","symbols":["A","B"]}',
      '{"type":"enum","name":"E","symbols":["A"]}',
      true,
      false,
    ],
    [
      'another namespace',
      '{"type":"record","name":"com.acme.R","fields":[{"name":"a","type":"int"}]}',
      record(a),
      true,
      true,
    ],
    [
      'another name',
      '{"type":"fixed","name":"F","size":2}',
      '{"type":"fixed","name":"G","size":2}',
      false,
      false,
    ],
    ['renamed with an alias', record({ name: 'z', aliases: ['a'], type: 'int' }), record(a), true, false],
  ])('%s: backward and forward', (_, next, previous, backward, forward) => {
    const [nextType, previousType] = [parseSchema(next), parseSchema(previous)];
    const fits = (level: Parameters<typeof incompatibilities>[2]) =>
      incompatibilities(nextType, previousType, level).length === 0;
    expect([fits('BACKWARD'), fits('FORWARD'), fits('FULL'), fits('FULL_TRANSITIVE'), fits('NONE')]).toEqual([
      backward,
      forward,
      backward && forward,
      backward && forward,
      true,
    ]);
  });

  test.each([
    [
      record({ name: 'a', type: 'long' }),
      'the old schema can not read data of the new one: a is long, the old one has int',
    ],
    [
      record(b),
      'the old schema can not read data of the new one: a is missing, and has no default in the old one',
    ],
    [
      record({ name: 'a', type: ['null', 'string'] }),
      'the old schema can not read data of the new one: a is string, the old one has int',
    ],
    [
      '{"type":"record","name":"Other","fields":[]}',
      'the old schema can not read data of the new one: it is record Other, the old one has record R',
    ],
  ])('of %s name the field', (next, message) => {
    expect(incompatibilities(parseSchema(next), parseSchema(record(a)), 'FORWARD')).toEqual([message]);
  });

  test('are found inside fields, and in recursive types', () => {
    const tree = (type: string): string =>
      record(
        {
          name: 'deep',
          type: { type: 'map', values: { type: 'record', name: 'D', fields: [{ name: 'x', type }] } },
        },
        { name: 'next', type: ['null', 'R'] },
      );
    expect(incompatibilities(parseSchema(tree('int')), parseSchema(tree('long')), 'FULL')).toEqual([
      'the new schema can not read data of the old one: deep.{}.x is long, the new one has int',
    ]);
  });
});
