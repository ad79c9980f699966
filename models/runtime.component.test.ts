import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { MillraceError } from '../platform/errors.js';
import { ModelThread } from './model-thread.js';
import { createModelRuntime, type ModelRuntime } from './runtime.js';
import { copyModel, testingModels } from './testing/copy-model.js';
import { answerOf, scoresOf } from './testing/answers.js';
import { graph, modelOf, node } from './testing/onnx-graph.js';

const toy = (name: string) => join(testingModels, name, '1');
/** A row that keeps the model `busy` for about half a second. */
const longRow = [500_000, 0, 0];

let runtime: ModelRuntime;
let folder: string;

beforeEach(async () => {
  runtime = createModelRuntime();
  folder = await mkdtemp(join(tmpdir(), 'millrace-runtime-'));
});

afterEach(async () => {
  await runtime.close();
  await rm(folder, { recursive: true });
});

/** Records the worker threads started until the end of the test. */
function startedWorkers(): Worker[] {
  const workers: Worker[] = [];
  const add = (worker: Worker) => workers.push(worker);
  process.on('worker', add);
  onTestFinished(() => void process.off('worker', add));
  return workers;
}

describe('load', () => {
  it('rejects a model that does not reproduce a golden row, with the row', async () => {
    const golden = [
      { features: [1, 2, 3], prediction: 6 },
      { features: [1, 2, 4], prediction: 7.0001 },
    ];
    await copyModel(toy('sum'), join(folder, '1'), { golden });
    await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      retriable: false,
      message: expect.stringContaining('golden row 1 alone returns 7, expected 7.0001'),
    });
  });

  it('rejects NaN for a golden row with a number', async () => {
    const golden = [{ features: [-1, 0, 0], prediction: 0 }];
    await copyModel(toy('nan-on-negative'), join(folder, '1'), { golden });
    await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(/golden row 0 alone has no score: .*NaN/),
    });
  });

  it('rejects a model whose golden rows fail to run', async () => {
    const golden = [{ features: [-1, 0, 0], prediction: -1 }];
    await copyModel(toy('fails-on-negative'), join(folder, '1'), { golden });
    await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(/golden row 0: .*Gather/),
    });
  });

  it('tolerates float32 rounding of large predictions', async () => {
    const golden = [{ features: [100_000, 0.01, 0], prediction: 100_000.01 }];
    const model = await runtime.load(await copyModel(toy('sum'), join(folder, '1'), { golden }));
    expect(model.manifest.name).toBe('sum');
  });

  it('rejects a file that is not an ONNX model', async () => {
    const onnx = Buffer.from('not a model');
    await copyModel(toy('sum'), join(folder, '1'), { onnx });
    await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(/ONNX model is invalid/),
    });
  });

  it('rejects a graph that onnxruntime cannot open', async () => {
    const onnx = modelOf(graph([node('NoSuchOperator', ['features'], 'sum')], [], []));
    await copyModel(toy('sum'), join(folder, '1'), { onnx });
    await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(/onnxruntime cannot open it/),
    });
  });

  it('rejects a manifest with an unknown tensor', async () => {
    const tensors = { format: 'onnx', opsets: {}, input_tensor: 'rows', output_tensor: 'result' };
    await copyModel(toy('sum'), join(folder, '1'), { manifest: { runtime: tensors } });
    await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(
        /it has no input rows; its inputs are features \(float32 \[batch, 3\]\)/,
      ),
    });
  });

  it('leaves no thread behind when it rejects', async () => {
    const workers = startedWorkers();
    const golden = [{ features: [1, 2, 3], prediction: 0 }];
    await copyModel(toy('sum'), join(folder, '1'), { golden });
    await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({ code: 'MODEL_REFUSED' });
    expect(workers.map(({ threadId }) => threadId)).toEqual([-1]);
  });
});

describe('predict', () => {
  it('answers concurrent calls in order, each with its own rows, for several models at once', async () => {
    const [sum, logarithm] = await Promise.all([
      runtime.load(toy('sum')),
      runtime.load(toy('nan-on-negative')),
    ]);
    const order: number[] = [];
    const calls = Array.from({ length: 200 }, async (_, index) => {
      const count = 1 + ((index * 37) % 64);
      const rows = Array.from({ length: count }, () => [index, index, index]);
      const results = await (index % 2 === 0 ? sum : logarithm).predict(rows);
      if (index % 2 === 0) order.push(index);
      return scoresOf(results);
    });
    for (const [index, scores] of (await Promise.all(calls)).entries()) {
      const expected = index % 2 === 0 ? index * 3 : Math.fround(Math.log(index));
      expect(scores).toHaveLength(1 + ((index * 37) % 64));
      for (const score of scores) expect(score).toBeCloseTo(expected, 5);
    }
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });

  it('distributes calls over the workers', async () => {
    const workers = startedWorkers();
    const wide = createModelRuntime({ workers: 2 });
    onTestFinished(() => wide.close());
    const model = await wide.load(toy('busy'));
    const calls = [1, 2].map(() => model.predict([longRow]));
    await workers[0]?.terminate();
    const states = (await Promise.allSettled(calls)).map(({ status }) => status);
    expect(states.toSorted()).toEqual(['fulfilled', 'rejected']);
  });

  it('does not change the rows', async () => {
    const model = await runtime.load(toy('sum'));
    const rows = [[1, 2, 3]];
    expect(await model.predict(rows)).toEqual([answerOf(6)]);
    expect(rows).toEqual([[1, 2, 3]]);
  });

  it('rejects only the call whose run fails', async () => {
    const model = await runtime.load(toy('fails-on-negative'));
    const [before, failed, after] = await Promise.allSettled([
      model.predict([[1, 2, 3]]),
      model.predict([
        [1, 2, 3],
        [-1, 0, 0],
      ]),
      model.predict([[4, 5, 6]]),
    ]);
    expect(before).toMatchObject({ value: [answerOf(6)] });
    expect(failed).toMatchObject({ reason: { code: 'MODEL_FAILED', retriable: false } });
    expect(after).toMatchObject({ value: [answerOf(15)] });
  });

  it('rejects a wrong shape, and accepts zero rows', async () => {
    const model = await runtime.load(toy('sum'));
    await expect(model.predict([[1, 2]])).rejects.toMatchObject({
      code: 'MODEL_FAILED',
      message: expect.stringMatching(/takes 3 values per row, but got 2/),
    });
    expect(await model.predict([])).toEqual([]);
  });

  it('answers a row without a finite number with its error', async () => {
    const model = await runtime.load(toy('nan-on-negative'));
    const rows = [
      [-1, 0, 0],
      [0, 0, 0],
      [1, 0, 0],
    ];
    const invalid = (number: string) => ({
      code: 'OUTPUT_INVALID',
      message: expect.stringContaining(`result is ${number}`) as unknown,
    });
    expect(await model.predict(rows)).toMatchObject([invalid('NaN'), invalid('-Infinity'), answerOf(0)]);
  });

  it('does not block the event loop', async () => {
    const model = await runtime.load(toy('busy'));
    const call = model.predict([longRow]);
    let answered = false;
    let turns = 0;
    const turn = () => {
      turns++;
      if (!answered) setImmediate(turn);
    };
    setImmediate(turn);
    await call.finally(() => (answered = true));
    // A call on this thread would allow at most one turn. The exact number depends on the machine.
    expect(turns).toBeGreaterThan(2);
  });
});

describe('a worker that dies', () => {
  it('rejects its calls as retriable, and is replaced at the next call', async () => {
    const workers = startedWorkers();
    const model = await runtime.load(toy('busy'));
    const calls = Array.from({ length: 3 }, () => model.predict([longRow]));
    await workers[0]?.terminate();
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ reason: { code: 'MODEL_WORKER_DIED', retriable: true } });
    }
    expect(await model.predict([[1, 2, 3]])).toEqual([answerOf(6)]);
    expect(workers).toHaveLength(2);
  });

  it('is replaced without a failed call if it was idle', async () => {
    const workers = startedWorkers();
    const model = await runtime.load(toy('sum'));
    await workers[0]?.terminate();
    expect(await model.predict([[1, 2, 3]])).toEqual([answerOf(6)]);
    expect(workers).toHaveLength(2);
  });

  it('and cannot restart is a retriable error', async () => {
    const workers = startedWorkers();
    const model = await runtime.load(toy('sum'));
    const start = vi.spyOn(ModelThread, 'start');
    onTestFinished(() => start.mockRestore());
    start.mockRejectedValueOnce(new MillraceError('MODEL_REFUSED', 'onnxruntime cannot open it: no memory'));
    await workers[0]?.terminate();
    await expect(model.predict([[1, 2, 3]])).rejects.toMatchObject({
      code: 'MODEL_WORKER_DIED',
      retriable: true,
    });
    expect(await model.predict([[1, 2, 3]])).toEqual([answerOf(6)]);
  });

  it('does not affect other models', async () => {
    const workers = startedWorkers();
    await runtime.load(toy('sum'));
    const other = await runtime.load(toy('fails-on-negative'));
    await workers[0]?.terminate();
    expect(await other.predict([[1, 2, 3]])).toEqual([answerOf(6)]);
    expect(workers).toHaveLength(2);
  });
});

describe('unload', () => {
  it('completes earlier calls and rejects later ones', async () => {
    const model = await runtime.load(toy('sum'));
    const call = model.predict([[1, 2, 3]]);
    await model.unload();
    expect(await call).toEqual([answerOf(6)]);
    await expect(model.predict([[1, 2, 3]])).rejects.toMatchObject({ code: 'MODEL_UNLOADED' });
    await model.unload();
  });

  it('ends the worker threads', async () => {
    const workers = startedWorkers();
    await runtime.load(toy('sum'));
    await runtime.load(toy('fails-on-negative'));
    await runtime.close();
    expect(workers.map(({ threadId }) => threadId)).toEqual([-1, -1]);
    await expect(runtime.load(toy('sum'))).rejects.toMatchObject({ code: 'MODEL_UNLOADED' });
  });
});
