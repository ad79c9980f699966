import { describe, expect, it } from 'vitest';
import type { RecordSchema } from '../../schemas/contracts.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { type DecimalColumns, examine } from './formats/examine.js';
import type { InputFile } from './formats/file-format.js';
import { checkColumns, toEvent } from './row-event.js';

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
