import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { expect, it, onTestFinished } from 'vitest';
import { createModelRuntime } from './runtime.js';
import { scoresOf } from './testing/answers.js';
import { copyModel, testingModels } from './testing/copy-model.js';

const toy = (name: string) => join(testingModels, name, '1');

function openRuntime(maxOwnMs: number) {
  const threads = new Set<Worker>();
  const add = (worker: Worker) => {
    threads.add(worker);
    worker.once('exit', () => threads.delete(worker));
  };
  process.on('worker', add);
  const runtime = createModelRuntime({ maxOwnMs });
  onTestFinished(async () => {
    process.off('worker', add);
    await runtime.close();
    expect(threads.size).toBe(0);
  });
  return { runtime, threads };
}

it('scores small calls on the caller’s thread, and has no worker', async () => {
  const { runtime, threads } = openRuntime(50);
  const model = await runtime.load(toy('sum'));
  expect(
    scoresOf(
      await model.predict([
        [1, 2, 3],
        [4, 5, 6],
      ]),
    ),
  ).toEqual([6, 15]);
  expect(threads.size).toBe(0);
  const { outputShapes } = await openRuntime(0).runtime.load(toy('sum'));
  expect(model.outputShapes).toEqual(outputShapes);
});

it('gives a call that may take longer to a worker, which starts then', async () => {
  const { runtime, threads } = openRuntime(0.5);
  const model = await runtime.load(toy('sum'));
  expect(threads.size).toBe(0);
  const rows = Array.from({ length: 200_000 }, (_, index) => [index, 1, 1]);
  const scores = scoresOf(await model.predict(rows));
  expect(scores).toHaveLength(200_000);
  expect(scores.at(-1)).toBe(200_001);
  expect(threads.size).toBe(1);
});

it('takes a model whose calls take long off the caller’s thread', async () => {
  const { runtime, threads } = openRuntime(50);
  const model = await runtime.load(toy('busy'));
  // As slow as its first value says, half a second here.
  await model.predict([[500_000, 0, 0]]);
  const before = threads.size;
  await model.predict([[1, 0, 0]]);
  expect([before, threads.size]).toEqual([0, 1]);
});

it('fails only the call whose rows the graph fails on', async () => {
  const { runtime } = openRuntime(50);
  const model = await runtime.load(toy('fails-on-negative'));
  const [failed, scored] = await Promise.allSettled([
    model.predict([[-1, 0, 0]]),
    model.predict([[1, 0, 0]]),
  ]);
  expect(failed).toMatchObject({ status: 'rejected', reason: { code: 'MODEL_FAILED', retriable: false } });
  expect(scored.status).toBe('fulfilled');
});

it('completes pending calls before it unloads', async () => {
  const { runtime } = openRuntime(50);
  const model = await runtime.load(toy('sum'));
  const pending = model.predict([[1, 2, 3]]);
  await model.unload();
  expect(scoresOf(await pending)).toEqual([6]);
  await expect(model.predict([[1, 2, 3]])).rejects.toMatchObject({ code: 'MODEL_UNLOADED' });
});

it('refuses a model that does not reproduce its golden rows', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-own-thread-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const { runtime } = openRuntime(50);
  const golden = [{ features: [1, 2, 3], prediction: 7 }];
  await copyModel(toy('sum'), join(folder, '1'), { golden });
  await expect(runtime.load(join(folder, '1'))).rejects.toMatchObject({ code: 'MODEL_REFUSED' });
});
