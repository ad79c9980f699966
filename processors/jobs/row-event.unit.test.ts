import { describe, expect, it } from 'vitest';
import type { AvroType, RecordSchema } from '../../schemas/contracts.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { type DecimalColumns, examine } from './formats/examine.js';
import type { InputFile } from './formats/file-format.js';
import { drawEvent } from '../../schemas/draw-event.js';
import { seededRandom } from '../pipelines/sampler.js';
import { checkColumns } from './row-columns.js';
import { toEvent } from './row-event.js';

const contract: RecordSchema = {
  type: 'record',
  name: 'E',
  namespace: 'n',
  fields: [
    { name: 'count', type: 'int' },
    { name: 'amount', type: 'double', default: 1.5 },
    { name: 'ok', type: 'boolean', default: false },
    { name: 'text', type: 'string', default: '' },
    { name: 'maybe', type: ['null', 'long'], default: null },
    { name: 'at', type: ['null', { type: 'long', logicalType: 'timestamp-millis' }], default: null },
    { name: 'day', type: ['null', { type: 'int', logicalType: 'date' }], default: null },
  ],
};
const schema = eventSchema(contract);
const scorer = {
  validate: (event: unknown) => {
    const result = schema.safeParse(event);
    return result.success ? result.data : new InvalidEvent(fieldErrors(result.error));
  },
};

const event = (values: Record<string, unknown>, typed = false): unknown => {
  const result = toEvent({ values }, contract, scorer, typed);
  return result instanceof InvalidEvent ? result.message : result;
};

describe('toEvent', () => {
  it('converts text to the types of the contract, and leaves other columns out', () => {
    const row = {
      count: ' 12 ',
      amount: '-1.5e3',
      ok: 'TRUE',
      text: ' a ',
      maybe: '7',
      ID: '1',
      event_id: 'x',
    };
    expect(event(row)).toMatchObject({ count: 12, amount: -1500, ok: true, text: ' a ', maybe: 7 });
    expect(event(row)).not.toHaveProperty('ID');
  });

  it('takes linear time for long digits, as for other text', () => {
    const startedAt = performance.now();
    expect(event({ count: `${'1'.repeat(1_000_000)}x` })).toContain('count');
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it('converts numbers, booleans and dates to text if the contract asks for text', () => {
    for (const [text, expected] of [
      [4, '4'],
      [true, 'true'],
      [new Date('2026-01-31'), '2026-01-31'],
      [new Date('2026-01-31T12:00:00Z'), '2026-01-31T12:00:00'],
    ]) {
      expect(event({ count: 1, text })).toMatchObject({ text: expected });
    }
  });

  it('converts date cells and text to times and days, in UTC if they have no zone', () => {
    const [day, time] = [new Date('2026-01-31'), new Date('2026-01-30T17:45:00.001Z')];
    for (const [cell, at] of [
      [time, time.getTime()],
      [day, day.getTime()],
      [new Date('1904-01-01'), Date.UTC(1904, 0)],
      ['2026-01-30 17:45:00.001', time.getTime()],
      [' 2026-01-30T18:45:00.001+01 ', time.getTime()],
      ['1769795100001', time.getTime()],
      [1_769_795_100_001, time.getTime()],
    ])
      expect(event({ count: 1, at: cell })).toMatchObject({ at });
    for (const cell of [day, '2026-01-31', '20484'])
      expect(event({ count: 1, day: cell })).toMatchObject({ day: 20_484 });
    expect(event({ count: 1, at: '2026-02-30' })).toContain('at must be a time such as');
    expect(event({ count: 1, day: time })).toContain('day must be a day such as');
  });

  it('treats an empty cell as a missing field', () => {
    expect(event({ count: 1, amount: null, ok: '', text: ' ', maybe: null, at: '' })).toMatchObject({
      count: 1,
      amount: 1.5,
      ok: false,
      text: '',
      maybe: null,
    });
    expect(event({ count: '' })).toBe('count is missing');
  });

  it.each(['1,5', '0x10', 'Infinity', 'NaN', '1 000', '12a', '--1', '.', '1.5'])(
    'refuses %j as a whole number',
    (count) => {
      expect(event({ count })).toMatch(/^count must be a whole number/);
    },
  );

  it('reports the errors of cells and rows', () => {
    expect(event({ count: { text: '#N/A', problem: 'holds the error #N/A' } })).toBe(
      'count holds the error #N/A',
    );
    const row = { values: {}, problem: 'is no JSON', original: '' };
    expect(toEvent(row, contract, scorer, true)).toMatchObject({ message: 'the event is no JSON' });
  });

  it('leaves values of the right type unchanged', () => {
    expect(event({ count: '12' }, true)).toBe('count must be a whole number');
    expect(event({ count: 12, other: {} }, true)).toMatchObject({ count: 12 });
  });
});

describe('90.000', () => {
  const rowsOf = (...amounts: string[]) => ({
    columns: ['amount'],
    rows: async function* () {
      yield await Promise.resolve(amounts.map((amount) => ({ values: { amount }, original: [amount] })));
    },
    close: () => undefined,
  });
  const decimalsOf = async (file: InputFile): Promise<DecimalColumns> => (await examine(file, 10)).decimals;
  const read = (decimals: DecimalColumns): unknown => {
    const result = toEvent({ values: { count: 1, amount: '90.000' } }, contract, scorer, false, decimals);
    return result instanceof InvalidEvent ? result.message : (result as { amount: number }).amount;
  };

  it('is invalid, unless its column or the file shows that points are decimal', async () => {
    for (const amounts of [
      ['90.000', '1.250'],
      ['90', ''],
      ['many', '1.2.3'],
    ])
      expect(read(await decimalsOf(rowsOf(...amounts)))).toBe(
        "amount must be a number, and is '90.000', which may be 90000 or 90: write 90000 or 90.0",
      );
    for (const amounts of [['90.000', '0.5'], ['1234.567'], ['12.25']])
      expect(read(await decimalsOf(rowsOf(...amounts)))).toBe(90);
    expect(read(await decimalsOf({ ...rowsOf('1.250'), pointsAreDecimal: true }))).toBe(90);
  });
});

describe('checkColumns', () => {
  const check = (columns: string[] | undefined): void => checkColumns({ columns }, contract);

  it('requires the fields that have no default, once', () => {
    check(['count']);
    check(['other', 'other', 'count']);
    check(undefined);
    expect(() => check(['Count'])).toThrow('has no count');
    expect(() => check(['count', 'text', 'text'])).toThrow('names text twice');
  });
});

const order: RecordSchema = {
  type: 'record',
  name: 'Order',
  fields: [
    { name: 'id', type: 'string' },
    {
      name: 'customer',
      type: {
        type: 'record',
        name: 'Customer',
        fields: [
          { name: 'age', type: 'int', minimum: 0, maximum: 120 },
          { name: 'vip', type: 'boolean', default: false },
        ],
      },
    },
    { name: 'payer', type: ['null', 'Customer'] },
    { name: 'readings', type: { type: 'array', items: 'double' }, maxItems: 3 },
    { name: 'gaps', type: ['null', { type: 'array', items: ['null', 'int'] }], default: null },
    { name: 'tags', type: { type: 'map', values: 'string' }, default: { by: 'default' } },
    { name: 'lines', type: { type: 'array', items: 'Customer' }, default: [] },
  ],
};

function isFilled(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

describe('nested values of a row', () => {
  const nested = eventSchema(order);
  const orderOf = (values: Record<string, unknown>, decimals?: DecimalColumns): unknown => {
    const validate = (given: unknown): object | InvalidEvent => {
      const { data, error } = nested.safeParse(given);
      return data ?? new InvalidEvent(fieldErrors(error));
    };
    const result = toEvent({ values }, order, { validate }, false, decimals);
    return result instanceof InvalidEvent ? result.message : result;
  };
  const defaults = { payer: null, gaps: null, tags: { by: 'default' }, lines: [] };

  it('have a column for each value inside them', () => {
    const row = {
      'tags.red': '1',
      'tags.blue': '',
      'readings.1': ' 2.5 ',
      'readings.0': '1',
      'readings.2': null,
      'gaps.0': '1',
      'gaps.2': '3',
      'lines.0.age': '5',
      'customer.vip': 'TRUE',
      'customer.age': 30,
      'customer.more': 'of other programs',
      'payer.age': '',
      'payer.vip': null,
      id: '7',
    };
    const expected = {
      id: '7',
      customer: { age: 30, vip: true },
      payer: null,
      readings: [1, 2.5],
      gaps: [1, null, 3],
      tags: { red: '1' },
      lines: [{ age: 5, vip: false }],
    };
    expect(orderOf(row)).toEqual(expected);
    expect(Object.keys(orderOf(row) as object)).toEqual(Object.keys(expected));
  });

  it('or are JSON in one column', () => {
    const row = {
      id: 'a',
      customer: '{"vip": true, "age": 30}',
      payer: ' ',
      readings: '[1, 2]',
      tags: '{"a.b": "c"}',
      gaps: '[null]',
      lines: '[{"age": 1}]',
    };
    const lines = [{ age: 1, vip: false }];
    const expected = { id: 'a', customer: { age: 30, vip: true }, payer: null, readings: [1, 2], lines };
    expect(orderOf(row)).toEqual({ ...expected, tags: { 'a.b': 'c' }, gaps: [null] });
    expect(orderOf({ ...row, readings: '[1, 2', customer: '30' })).toMatch(
      /^readings must be JSON in this column: /,
    );
    expect(orderOf({ ...row, readings: '["1"]', customer: '30' })).toBe(
      'customer must be an object; readings.0 must be a number',
    );
    expect(orderOf({ ...row, readings: 5 })).toBe('readings must be an array');
    expect(orderOf({ ...row, tags: '{"__proto__": "x"}' })).toBe('tags.__proto__ can’t be the key of a map');
  });

  it('give the event whose values are written into cells, in either way', () => {
    const random = seededRandom(7);
    const cellOf = (value: unknown): string =>
      typeof value === 'string' ? value : value === null ? '' : JSON.stringify(value);
    for (let count = 0; count < 300; count++) {
      const drawn = drawEvent({ schema: order }, random) as Record<string, unknown>;
      const asJson = Object.entries(drawn).map(([name, value]) => [name, cellOf(value)] as const);
      expect(orderOf(Object.fromEntries(asJson), 'all')).toEqual(drawn);
      const inColumns = asJson.flatMap(([name, cell]) => {
        const value = drawn[name];
        const isWritten = ['customer', 'payer', 'readings', 'tags'].includes(name) && isFilled(value);
        return isWritten
          ? Object.entries(value).map(([key, each]) => [`${name}.${key}`, cellOf(each)])
          : [[name, cell]];
      });
      expect(orderOf(Object.fromEntries(inColumns), 'all')).toEqual(drawn);
    }
  });

  it('are missing if all their cells are empty', () => {
    const row = { id: 'a', 'customer.age': '1', readings: '[]' };
    expect(orderOf(row)).toEqual({ id: 'a', customer: { age: 1, vip: false }, readings: [], ...defaults });
    expect(orderOf({ ...row, readings: undefined, 'readings.0': '', 'tags.x': '' })).toMatchObject({
      readings: [],
      tags: defaults.tags,
    });
    expect(orderOf({ ...row, readings: '' })).toBe('readings is missing');
    expect(orderOf({ ...row, 'customer.age': '' })).toBe('customer.age is missing');
    expect(orderOf({ ...row, readings: undefined, 'readings.0': '', 'readings.1': '2' })).toBe(
      'readings.0 is missing',
    );
  });

  it('are reported by column', () => {
    const row = { id: 'a', 'customer.age': '121', 'readings.0': '1.500', 'tags.__proto__': 'x' };
    expect(orderOf(row)).toBe(
      "customer.age must be a whole number from 0 to 120; readings.0 must be a number, and is '1.500', which may " +
        'be 1500 or 1.5: write 1500 or 1.50; tags.__proto__ can’t be the key of a map',
    );
    expect(orderOf({ ...row, 'customer.age': { text: '#N/A', problem: 'holds the error #N/A' } })).toBe(
      'customer.age holds the error #N/A',
    );
    const fitting = { id: 'a', 'customer.age': '1', 'readings.0': '1.500' };
    expect(orderOf(fitting, new Set(['readings.0']))).toMatchObject({ readings: [1.5] });
  });

  it('are in no column that is deeper than contracts may be', () => {
    const deep = `payer.age${'.x'.repeat(100_000)}`;
    const row = { id: 'a', 'customer.age': '1', 'readings.0': '1' };
    expect(orderOf({ ...row, [deep]: '1' })).toEqual(orderOf(row));
    checkColumns({ columns: [...Object.keys(row), deep] }, order);
    let type: AvroType = 'int';
    for (let depth = 16; depth > 0; depth--)
      type = { type: 'record', name: `R${depth}`, fields: [{ name: 'x', type }] };
    const deepest: RecordSchema = { type: 'record', name: 'Deepest', fields: [{ name: 'x', type }] };
    const path = Array.from({ length: 17 }, () => 'x').join('.');
    checkColumns({ columns: [path] }, deepest);
    const validate = (given: unknown): object => given as object;
    const value = toEvent({ values: { [path]: '7' } }, deepest, { validate }, false);
    expect(JSON.stringify(value)).toBe(`${'{"x":'.repeat(17)}7${'}'.repeat(17)}`);
  });

  it('need the columns of what is required, in one way', () => {
    const check = (...columns: string[]): void => checkColumns({ columns }, order);
    check('id', 'customer.age', 'readings');
    check('id', 'customer', 'readings.0', 'readings.2', 'payer', 'tags.x', 'tags.y', 'lines.0.age');
    check(
      'id',
      'customer.age',
      'readings',
      'payer.of_another_program',
      'id.x',
      'tags',
      'tags_of',
      'readings_0',
    );
    for (const [columns, problem] of [
      [['id', 'customer.vip'], 'has no customer.age, readings.'],
      [['id', 'customer.other', 'readings'], 'has no customer.age.'],
      [['customer.age', 'readings', 'id.x'], 'has no id.'],
      [['id', 'customer', 'readings', 'payer.vip'], 'has no payer.age.'],
      [['id', 'customer', 'readings', 'lines.1.vip'], 'has no lines.1.age.'],
      [['id', 'customer', 'customer.age', 'readings'], 'names both customer and customer.age.'],
      [['id', 'customer', 'readings', 'readings.1'], 'names both readings and readings.1.'],
      [['id', 'customer.age', 'readings.0', 'readings.0'], 'names readings.0 twice.'],
      [['id', 'customer', 'readings.3'], 'names readings.3. Items of readings are readings.0 to readings.2.'],
      [['id', 'customer', 'readings.x'], 'names readings.x.'],
      [['id', 'customer', 'readings', 'gaps.10000'], 'Items of gaps are gaps.0 to gaps.9999.'],
    ] as [string[], string][])
      expect(() => check(...columns)).toThrow(problem);
  });
});
