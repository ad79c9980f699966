import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { startSystem, type TestSystem } from '../system/start.js';
import { describeClient, pythonClient } from './installed.js';
import { run } from './program.js';

describeClient(pythonClient('tritonclient', 'triton_client.py'), (client) => {
  const example = JSON.parse(
    readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
  ) as Record<string, number>;
  const rows = [example, { ...example, LIMIT_BAL: 10_000, PAY_0: 3, PAY_2: 3 }];
  let system: TestSystem;
  /** Answers of `predict` for the same rows. */
  let expected: { score: number[]; label: string[] };

  beforeAll(async () => {
    system = await startSystem();
    const response = await system.post('/v1/pipelines/credit-default/predict', rows);
    const { predictions } = (await response.json()) as { predictions: { score: number; label: string }[] };
    expected = {
      score: predictions.map(({ score }) => score),
      label: predictions.map(({ label }) => label),
    };
  });

  afterAll(() => system.stop());

  async function play(scenario: string): Promise<Record<string, unknown>> {
    const { stdout } = await run(client, [
      new URL(system.endpoints.http).host,
      scenario,
      JSON.stringify(rows),
    ]);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  test('health and metadata', async () => {
    expect(await play('metadata')).toMatchObject({
      live: true,
      ready: true,
      model_ready: true,
      version_ready: true,
      other_ready: false,
      server: 'millrace',
      model: { name: 'credit-default', versions: ['1'], platform: 'onnx_onnxv1' },
    });
  });

  test('infer with named tensors', async () => {
    expect(await play('infer')).toEqual({ ...expected, id: '7', version: '1' });
  });

  test('binary inputs are refused, binary outputs answered as JSON', async () => {
    const { refused, default_outputs } = await play('binary');
    expect(default_outputs).toMatchObject(expected);
    expect(refused).toEqual(['400', expect.stringContaining('binary_data=False')]);
  });

  test('one bad row fails the whole request', async () => {
    expect(await play('refused')).toEqual({
      status: '400',
      message: expect.stringMatching(/^Row 2: AGE must be a whole number from 18 to 120/),
    });
  });

  test.each(['concurrent', 'aio'])('many calls at once: %s', async (scenario) => {
    expect(await play(scenario)).toEqual({
      ids: Array.from({ length: 20 }, (_, call) => String(call)),
      scores: Array.from({ length: 20 }, () => expected.score),
    });
  });
});
