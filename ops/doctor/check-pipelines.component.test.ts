import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadConfig } from '../../platform/config.js';
import { SummingProject } from '../../processors/testing/summing-project.js';
import { checkPipelines } from './check-pipelines.js';
import { Diagnosis } from './diagnosis.js';

let project: SummingProject;

beforeEach(async () => {
  project = await SummingProject.create('good', 'bad');
});

afterEach(() => project.remove());

/** What is wrong, and the pipelines that can be used. */
async function check(): Promise<{ wrong: string[]; usable: string[] }> {
  const diagnosis = new Diagnosis();
  const usable = await checkPipelines(diagnosis, loadConfig({ MILLRACE_PROJECT: project.folder }));
  return { wrong: diagnosis.findings.map(({ what }) => what), usable: usable.map(({ name }) => name) };
}

it('finds nothing in a project without faults', async () => {
  expect(await check()).toEqual({ wrong: [], usable: ['bad', 'good'] });
});

it('names a pipeline that can’t be loaded', async () => {
  await project.write('processors/pipelines/bad/pipeline.json', '{');
  const { wrong, usable } = await check();
  expect(wrong).toEqual([expect.stringMatching(/^bad: .*pipeline\.json/)]);
  expect(usable).toEqual(['good']);
});

it('names a pipeline whose model has no version that can be read', async () => {
  await project.train('bad', '2', 'second');
  await project.write('models/bad/2/model.onnx', 'cut off');
  expect((await check()).wrong).toEqual([]);
  await project.write('models/bad/1/model.json', '{');
  expect((await check()).wrong).toEqual([expect.stringMatching(/^bad: .*models\/bad\/2\/model\.onnx/)]);
  await project.remove('models/bad');
  expect((await check()).wrong).toEqual([expect.stringMatching(/^bad: No model bad/)]);
});
