import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { ColumnBatch } from '../../analytics/batches/column-batch.js';
import { rowsOfColumns } from '../../analytics/testing/rows-of-columns.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import { wireHeaderBytes, type Serde } from '../../streams/serde.js';
import { toPredictionRow } from '../scoring/prediction.js';
import { openToyPipeline } from '../testing/toy-pipeline.js';
import { PlainPredictions } from './plain-predictions.js';

const contract = loadContract('shared', 'prediction');
const plain = new PlainPredictions(contract);

let serde: Serde;
let id: number;
beforeAll(async () => {
  ({ serde } = await openToyPipeline());
  id = await serde.register('toy.predictions', contract.type);
});

const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.constantFrom('', '\0', '\t\\N\n\r', '\ufeffx', '{"a":"\\"\\u0000"}', 'x'.repeat(5_000)),
);
const time = fc.oneof(
  fc.integer({ min: Date.UTC(1900, 0, 1), max: Date.UTC(2299, 11, 31) }),
  fc.constantFrom(-1, 0, 1, Date.UTC(1900, 0, 1), Date.UTC(2299, 11, 31)),
);
const double = fc.double({ noNaN: true, noDefaultInfinity: true });
const storable: fc.Arbitrary<Prediction> = fc.record({
  prediction_id: fc.uuid(),
  event_id: text,
  pipeline: text,
  model: text,
  model_version: text,
  model_digest: text,
  event_time: time,
  predicted_at: time,
  score: double,
  label: fc.option(text),
  features: text,
  source: text,
  topic: text,
  partition: fc.integer(),
  offset: fc.integer({ min: -1, max: 2 ** 52 - 1 }),
  schema_id: fc.integer(),
  latency_ms: double,
  role: fc.constantFrom('champion', 'canary', 'shadow'),
  model_event: fc.integer({ min: -1, max: 2 ** 52 - 1 }),
  model_event_at: fc.option(time),
  outputs: fc.option(text),
});
/** What only others write. */
const strange = fc.record(
  {
    prediction_id: fc.oneof(
      text,
      fc.uuid().map((uuid) => uuid.toUpperCase()),
    ),
    score: fc.constantFrom(Number.NaN, Infinity, -Infinity),
    latency_ms: fc.constantFrom(Number.NaN, Infinity),
    event_time: fc.constantFrom(Date.UTC(1900, 0, 1) - 1, Date.UTC(2299, 11, 31) + 1, 2 ** 52),
    model_event_at: fc.constantFrom(-(2 ** 52), 2 ** 52),
    offset: fc.constantFrom(Number.MAX_SAFE_INTEGER - 1, -(2 ** 52)),
  },
  { requiredKeys: [] },
);

const encode = (prediction: Prediction): Buffer => Buffer.from(serde.encode(id, contract.type, prediction));

/** Returns the rows of the values that are plain. */
function plainRows(
  values: readonly Buffer[],
  batch = new ColumnBatch(plain.columns),
): Record<string, unknown>[] | undefined {
  for (const value of values) plain.add(value, batch);
  return batch.isUtf8() ? rowsOfColumns(batch.toArrow()) : undefined;
}

/** Returns the row that the generic way stores, as JSON; undefined if it stores none. */
function genericRow(value: Buffer): unknown {
  try {
    const row = toPredictionRow(serde.decode(value, contract.type) as Prediction);
    if (!Number.isFinite(row.score) || !Number.isFinite(row.latency_ms)) return undefined;
    return JSON.parse(JSON.stringify(row));
  } catch {
    return undefined;
  }
}

describe('predictions', () => {
  test('that can be stored have the same rows as by the generic way', () => {
    const batch = new ColumnBatch(plain.columns);
    fc.assert(
      fc.property(fc.array(storable, { maxLength: 20 }), (predictions) => {
        const values = predictions.map(encode);
        batch.clear();
        expect(plainRows(values, batch)).toEqual(values.map(genericRow));
      }),
    );
  });

  test('that are strange are left to the generic way, or have the same rows, and leave nothing of theirs behind', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(storable, strange), { maxLength: 10 }), (pairs) => {
        for (const [prediction, changes] of pairs) {
          const values = [{ ...prediction, ...changes }, prediction].map(encode);
          const expected = values.map(genericRow);
          expect([undefined, expected, expected.slice(1)]).toContainEqual(plainRows(values));
        }
      }),
    );
  });

  test('that are damaged are left to the generic way, or have the same rows', () => {
    const damage = fc.array(fc.record({ at: fc.nat({ max: 1_000 }), byte: fc.nat({ max: 255 }) }), {
      maxLength: 4,
    });
    const cut = fc.integer({ min: -3, max: 3 });
    let taken = 0;
    fc.assert(
      fc.property(storable, damage, cut, (prediction, changes, length) => {
        const intact = encode(prediction);
        const value = Buffer.concat([intact, Buffer.alloc(3)]).subarray(
          0,
          intact.length + Math.max(length, -intact.length + wireHeaderBytes),
        );
        for (const { at, byte } of changes) {
          const place = wireHeaderBytes + (at % (value.length - wireHeaderBytes));
          value[place] = byte;
        }
        const rows = plainRows([value]);
        if (rows === undefined || rows.length === 0) return;
        taken++;
        expect(rows).toEqual([genericRow(value)]);
      }),
      { numRuns: 2_000 },
    );
    expect(taken).toBeGreaterThan(20);
  });

  test('whose texts are no UTF-8 are not plain, or make a batch that says so', () => {
    const withSource = (bytes: number[]): Buffer => {
      const value = encode({ ...sample(), source: '€' });
      value.set(bytes, value.indexOf('€'));
      return value;
    };
    expect(plainRows([withSource([0x78, 0xff, 0x78])])).toBeUndefined();
    // Together they would be a character.
    const halves = [withSource([0x78, 0x78, 0xc3]), withSource([0xa9, 0x78, 0x78])];
    expect(plainRows(halves)).toBeUndefined();
  });
});

function sample(): Prediction {
  const [prediction] = fc.sample(storable, { numRuns: 1, seed: 1 });
  if (prediction === undefined) throw new Error('There is no sample.');
  return prediction;
}
