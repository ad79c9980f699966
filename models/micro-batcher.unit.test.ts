import { describe, expect, it } from 'vitest';
import { MillraceError } from '../platform/errors.js';
import { MicroBatcher, type MicroBatcherOptions, type PredictRows } from './micro-batcher.js';
import type { ModelRow } from './tensors.js';
import { answerOf } from './testing/answers.js';

const options: MicroBatcherOptions = { maxRows: 4, maxDelayMs: 0, maxInFlight: 1 };
const rowsOf = (...values: number[]): number[][] => values.map((value) => [value]);

const valueOf = (row: ModelRow): number => Number(row[0]);
const answers = (...scores: number[]) => scores.map((score) => answerOf(score));

/** A model that doubles its input, and waits until the test releases it. */
function heldModel(): { predict: PredictRows; batches: number[][]; release: () => void } {
  const batches: number[][] = [];
  const held: (() => void)[] = [];
  return {
    batches,
    predict: (rows) => {
      const values = rows.map((row) => valueOf(row));
      batches.push(values);
      return new Promise((resolve) => held.push(() => resolve(answers(...values.map((value) => value * 2)))));
    },
    release: () => held.shift()?.(),
  };
}

function failing(
  isBad: (value: number) => boolean,
  error: MillraceError,
): { batcher: MicroBatcher; sizes: number[] } {
  const sizes: number[] = [];
  const batcher = new MicroBatcher(
    (rows) => {
      sizes.push(rows.length);
      const values = rows.map((row) => valueOf(row));
      return values.some(isBad) ? Promise.reject(error) : Promise.resolve(answers(...values));
    },
    { ...options, maxRows: 100 },
  );
  return { batcher, sizes };
}

const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('MicroBatcher', () => {
  it('batches concurrent requests into one call', async () => {
    const model = heldModel();
    const batcher = new MicroBatcher(model.predict, options);
    const [first, second] = [batcher.predict(rowsOf(1)), batcher.predict(rowsOf(2, 3))];
    await nextTurn();
    expect(model.batches).toEqual([[1, 2, 3]]);
    model.release();
    expect(await Promise.all([first, second])).toEqual([answers(2), answers(4, 6)]);
  });

  it('sends a full batch at once, and does not split requests', async () => {
    const model = heldModel();
    const batcher = new MicroBatcher(model.predict, { ...options, maxDelayMs: 60_000, maxInFlight: 9 });
    const requests = [batcher.predict(rowsOf(1, 2, 3)), batcher.predict(rowsOf(4, 5))];
    expect(model.batches).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
    model.release();
    model.release();
    expect(await Promise.all(requests)).toEqual([answers(2, 4, 6), answers(8, 10)]);
  });

  it('accepts a request that is larger than a batch', async () => {
    const model = heldModel();
    const request = new MicroBatcher(model.predict, options).predict(rowsOf(1, 2, 3, 4, 5));
    expect(model.batches).toEqual([[1, 2, 3, 4, 5]]);
    model.release();
    expect(await request).toEqual(answers(2, 4, 6, 8, 10));
  });

  it('sends a batch when its first row has waited long enough', async () => {
    const model = heldModel();
    const request = new MicroBatcher(model.predict, { ...options, maxDelayMs: 1 }).predict(rowsOf(1));
    expect(model.batches).toEqual([]);
    await expect.poll(() => model.batches).toEqual([[1]]);
    model.release();
    expect(await request).toEqual(answers(2));
  });

  it('collects rows while the maximum number of calls runs', async () => {
    const model = heldModel();
    const batcher = new MicroBatcher(model.predict, options);
    const first = batcher.predict(rowsOf(1));
    await nextTurn();
    const others = [batcher.predict(rowsOf(2)), batcher.predict(rowsOf(3))];
    await nextTurn();
    expect(model.batches).toEqual([[1]]);
    model.release();
    await first;
    await expect.poll(() => model.batches).toEqual([[1], [2, 3]]);
    model.release();
    expect(await Promise.all(others)).toEqual([answers(4), answers(6)]);
  });

  it('answers a request without rows without a call', async () => {
    const model = heldModel();
    expect(await new MicroBatcher(model.predict, options).predict([])).toEqual([]);
    expect(model.batches).toEqual([]);
  });

  it('fails only the row that the model fails on', async () => {
    const error = new MillraceError('MODEL_FAILED', 'no');
    const { batcher, sizes } = failing((value) => value < 0, error);
    const [first, second] = [batcher.predict(rowsOf(1, -2, 3, 4)), batcher.predict(rowsOf(5, 6, -7))];
    expect(await first).toEqual([...answers(1), error, ...answers(3, 4)]);
    expect(await second).toEqual([...answers(5, 6), error]);
    expect(sizes[0]).toBe(7);
  });

  it('throws if the model cannot run, and recovers', async () => {
    const { batcher, sizes } = failing((value) => value < 0, new MillraceError('MODEL_WORKER_DIED', 'no'));
    await expect(batcher.predict(rowsOf(1, -1))).rejects.toMatchObject({ code: 'MODEL_WORKER_DIED' });
    expect(sizes).toEqual([2]);
    expect(await batcher.predict(rowsOf(1))).toEqual(answers(1));
  });
});
