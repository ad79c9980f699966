import { afterAll, beforeAll, expect, test } from 'vitest';
import { toyEvents, writeToyProject } from '../../processors/testing/toy-project.js';
import { startSystem, type TestSystem } from '../system/start.js';
import { describeClient, pythonClient } from './installed.js';
import { run } from './program.js';

describeClient(pythonClient('tritonclient', 'triton_client.py'), (client) => {
  let project: Awaited<ReturnType<typeof writeToyProject>>;
  let system: TestSystem;
  beforeAll(async () => {
    project = await writeToyProject();
    system = await startSystem({ MILLRACE_PROJECT: project.folder });
  });
  afterAll(async () => {
    await system.stop();
    await project.remove();
  });

  test('a window of numbers in, and every kind of output by name', async () => {
    const models = ['iris-zipmap', 'window', 'several'] as const;
    const requests = models.map((model) => [model, [toyEvents[model], toyEvents[model]]]);
    const address = new URL(system.endpoints.http).host;
    const { stdout } = await run(client, [address, 'named', JSON.stringify(requests)]);
    const seen: unknown = JSON.parse(stdout);
    const close = (number: number): number => expect.closeTo(number, 5) as number;
    const twice = <T>(row: T): T[] => [row, row];
    expect(seen).toEqual({
      'iris-zipmap': {
        score: twice(close(0.98166)),
        label: twice('setosa'),
        species: twice([close(0.98166), close(0.01834), close(0)]),
      },
      window: { score: [6, 6], forecast: twice([6, 3.5]) },
      several: {
        score: twice(close(0.99753)),
        label: twice('high'),
        risk: twice(close(0.99753)),
        embedding: twice([2, 4, 6]),
        grid: twice([[1, 2, 3]]),
        whole: [6, 6],
        positive: [true, true],
        'outputs.label': twice('yes'),
        'outputs.score': twice([close(0.09003), close(0.24473), close(0.66524)]),
      },
    });
  });
});
