import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import avro from 'avsc';
import { describe, expect, it } from 'vitest';
import { toRows } from '../../ingest/inference/tensors.js';
import { packageRoot } from '../../platform/paths.js';
import { toEvent } from '../../processors/jobs/row-event.js';
import { type AvroType, avroType, type RecordSchema } from '../../schemas/contracts.js';
import { eventCheck } from '../../schemas/event-check.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { fieldPaths } from '../../schemas/field-paths.js';
import { createResolution } from '../../streams/avro-resolution.js';

const page = readFileSync(join(packageRoot, 'docs', 'contracts.md'), 'utf8');

/** Examples of each column of the table of types. */
interface Row {
  type: AvroType;
  json: string[];
  cells: string[];
  writers: string[];
  datatypes: string[];
  refused: string[];
}

const [, table = ''] = /<!-- field types: .* -->\n\n((?:\|.*\n)+)/.exec(page) ?? [];
const rows = table
  .trim()
  .split('\n')
  .slice(2)
  .map((line): Row => {
    const [type, json = [], cells = [], writers = [], datatypes = [], refused = []] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code));
    return { type: JSON.parse(type?.[0] ?? '') as AvroType, json, cells, writers, datatypes, refused };
  });

function contractOf(type: AvroType): RecordSchema {
  return { type: 'record', name: 'Example', fields: [{ name: 'x', type }] };
}

function check(contract: RecordSchema, event: unknown): { x?: unknown } | InvalidEvent {
  const { data, error } = eventSchema(contract).safeParse(event);
  return data ?? new InvalidEvent(fieldErrors(error));
}

it('the table has a row for each type', () => {
  const types = rows.map(({ type }) => fieldPaths({ schema: contractOf(type) })[0]);
  expect(types.map((path) => [path?.type, path?.nullable].join(' '))).toEqual([
    'boolean false',
    'int false',
    'long false',
    'float false',
    'double false',
    'string false',
    'enum false',
    'timestamp-millis false',
    'date false',
    'uuid false',
    'double true',
    'array of double false',
    'map of double false',
    'int false',
  ]);
});

describe.each(rows.map((row) => [JSON.stringify(row.type), row] as const))('%s', (_, row) => {
  const contract = contractOf(row.type);
  const values = row.json.map((text) => check(contract, { x: JSON.parse(text) as unknown }));
  const [first] = values;

  it('takes each example in JSON', () => {
    expect(values.length).toBeGreaterThan(0);
    for (const value of values) {
      expect(value).not.toBeInstanceOf(InvalidEvent);
      expect(eventCheck(contract)(value)).toBe(true);
    }
  });

  it('takes each example in a cell', () => {
    const scorer = { validate: (event: unknown) => check(contract, event) };
    expect(row.cells.length).toBeGreaterThan(0);
    for (const cell of row.cells) {
      const event = toEvent({ values: { x: cell } }, contract, scorer, false);
      expect(event).not.toBeInstanceOf(InvalidEvent);
      expect(eventCheck(contract)(event)).toBe(true);
    }
  });

  it('reads each type of a writer', () => {
    const writers = row.writers.length > 0 ? row.writers : [undefined];
    for (const writer of writers) {
      const type = avroType(contractOf(writer ?? row.type) as Parameters<typeof avroType>[0]);
      const { x } = first as { x: unknown };
      const written = writer === 'bytes' ? Buffer.from(x as string) : x;
      const bytes = type.toBuffer({ x: written });
      const reader = avroType(contract as Parameters<typeof avroType>[0]);
      const read = createResolution(reader, avro.Type.forSchema(type.schema(), { wrapUnions: 'always' }));
      expect(check(contract, read(bytes, 0))).toEqual(first);
    }
  });

  it('takes each datatype of an inference request', () => {
    const { x } = first as { x: unknown };
    const [path = 'x'] = fieldPaths({ schema: contract }).map((each) => each.path);
    const value = path === 'x' ? x : Object.values(x as object)[0];
    const isNested = typeof value === 'object' && value !== null;
    for (const datatype of path === 'x' ? row.datatypes : ['INT32']) {
      const isJson = isNested && datatype === 'BYTES';
      const data = [isJson ? JSON.stringify(value) : value];
      const shape = isNested && !isJson ? [1, Object.keys(value).length] : [1];
      const [event] = toRows({ inputs: [{ name: path, datatype, shape, data }] }, contract);
      expect(check(contract, event)).toEqual(first);
    }
    expect(path !== 'x' || row.datatypes.length > 0).toBe(true);
  });

  it('refuses each example', () => {
    expect(row.refused.length).toBeGreaterThan(0);
    for (const text of row.refused)
      expect(check(contract, { x: JSON.parse(text) as unknown })).toBeInstanceOf(InvalidEvent);
  });
});

it('the example is a contract, and its limits and defaults are as the page says', () => {
  const [, text = ''] = /```json\n(.*?)```/s.exec(page) ?? [];
  const contract = JSON.parse(text) as RecordSchema;
  expect(check(contract, { customer: { age: 18 }, amounts: [1] })).toEqual({
    customer: { age: 18, city: null },
    amounts: [1],
    tags: {},
  });
  const wrong = check(contract, { customer: { age: 17 }, amounts: [1, 2, 3, 'x', -1] });
  expect((wrong as InvalidEvent).fields).toEqual([
    { field: 'customer.age', problem: 'must be a whole number from 18 to 120' },
    { field: 'amounts.3', problem: expect.stringContaining('must be a number from 0') as string },
    { field: 'amounts.4', problem: expect.stringContaining('must be a number from 0') as string },
  ]);
});
