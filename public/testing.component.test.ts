import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { scorePipeline } from 'millrace/testing';
import { MillraceError } from 'millrace';
import { copyModel, testingModels } from '../models/testing/copy-model.js';
import { packageRoot } from '../platform/paths.js';

const project = await mkdtemp(join(tmpdir(), 'millrace-testing-'));
afterAll(() => rm(project, { recursive: true }));

beforeAll(async () => {
  await mkdir(join(project, 'processors/pipelines/sum'), { recursive: true });
  await mkdir(join(project, 'schemas/sum'), { recursive: true });
  const fields = ['a', 'b', 'c'].map((name) => ({ name, type: 'double', maximum: 1_000 }));
  const contract = { type: 'record', name: 'Sum', fields };
  await writeFile(join(project, 'schemas/sum/event.v1.avsc'), JSON.stringify(contract));
  await writeFile(
    join(project, 'processors/pipelines/sum/pipeline.json'),
    JSON.stringify({ inputs: { first: 'a', second: 'b', third: 'c' } }),
  );
  await copyModel(join(testingModels, 'sum', '1'), join(project, 'models/sum/1'));
});

const example = async (name: string): Promise<object> =>
  JSON.parse(await readFile(join(packageRoot, 'examples', `${name}.json`), 'utf8')) as object;

it('scores an event of a shipped pipeline, with the model of its group', async () => {
  const car = await example('car-price');
  expect(await scorePipeline('car-price', { ...car, model_group: 'B', event_id: 'x' })).toMatchObject({
    score: expect.any(Number) as number,
    label: null,
    model: 'car-price-b',
    model_version: '1',
  });
});

it('scores events of another project, in their order', async () => {
  const events = [1, 2, 3].map((a) => ({ a, b: 0, c: 0 }));
  const predictions = await scorePipeline('sum', events, { project });
  expect(predictions.map(({ score }) => score)).toEqual([1, 2, 3]);
});

it('gives the errors of the system', async () => {
  const refused = scorePipeline('sum', { a: 1, b: 0, c: 1_001 }, { project });
  await expect(refused).rejects.toBeInstanceOf(MillraceError);
  await expect(refused).rejects.toMatchObject({
    code: 'EVENT_INVALID',
    message: expect.stringContaining('c ') as string,
  });
  await expect(scorePipeline('sum', [{ a: 1, b: 0, c: 1 }, {}], { project })).rejects.toMatchObject({
    code: 'EVENT_INVALID',
    message: expect.stringMatching(/^Event 2: a /) as string,
  });
});

it('says which pipelines there are', async () => {
  await expect(scorePipeline('summ', {}, { project })).rejects.toMatchObject({
    code: 'PIPELINE_UNKNOWN',
    message: expect.stringContaining('Did you mean sum?') as string,
  });
});
