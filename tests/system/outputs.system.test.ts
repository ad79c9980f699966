import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { copyModel, withNote } from '../../models/testing/copy-model.js';
import { toForm } from '../../models/testing/version-folders.js';
import { toyEvents, writeToyProject } from '../../processors/testing/toy-project.js';
import { fileForm, type JobAnswer, whenFinished } from './file-jobs.js';
import { startSystem, type TestSystem } from './start.js';

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

interface Row {
  event_id: string;
  role: string;
  model_version: string;
  outputs: string;
}

async function rowsOf(eventIds: readonly string[], count: number): Promise<Row[]> {
  const ids = eventIds.map((id) => `'${id}'`).join(', ');
  const query = `SELECT event_id, role, model_version, outputs FROM millrace.predictions WHERE event_id IN (${ids}) ORDER BY event_id, role`;
  await expect.poll(() => system.sql(query)).toHaveLength(count);
  return system.sql<Row>(query);
}

async function result(pipeline: string, content: string, name: string): Promise<string> {
  const { http } = system.endpoints;
  const url = `${http}/v1/pipelines/${pipeline}/files`;
  const response = await fetch(url, { method: 'POST', body: fileForm(content, name) });
  const job = await whenFinished(http, ((await response.json()) as JobAnswer).job_id);
  expect(job).toMatchObject({ state: 'done', rows: { failed: 0 } });
  return (await fetch(http + job.links.result)).text();
}

const csvOf = (event: object): string =>
  `${Object.keys(event).join(',')}\n${Object.values(event).join(',')}\n`;

it('the stream, a call and its shadow have all outputs of their models in ClickHouse', async () => {
  const version = join(project.folder, 'models', 'several', '1');
  const onnx = withNote(await readFile(join(version, 'model.onnx')), 'second');
  const second = await copyModel(version, join(project.folder, 'second'), {
    onnx,
    manifest: { version: '2' },
  });
  const model = `${system.endpoints.http}/v1/models/several`;
  const registered = await fetch(`${model}/versions`, { method: 'POST', body: await toForm(second) });
  expect(registered.status).toBe(201);
  const shadow = { version: '2', shadow: true, canary_share: 0 };
  const put = { method: 'PUT', headers: { 'content-type': 'application/json' } };
  await fetch(`${model}/aliases/challenger`, { ...put, body: JSON.stringify(shadow) });
  // The scorers follow the alias by themselves, in their own time.
  const isShadowed = `SELECT 1 AS found FROM millrace.predictions WHERE event_id LIKE 'probe-%' AND role = 'shadow' LIMIT 1`;
  let probes = 0;
  await expect
    .poll(
      async () => {
        const probe = { ...toyEvents.several, event_id: `probe-${probes++}` };
        await system.post('/v1/pipelines/several/events', JSON.stringify(probe));
        return system.sql(isShadowed);
      },
      { interval: 200 },
    )
    .toHaveLength(1);

  const called = await system.post('/v1/pipelines/several/predict', {
    ...toyEvents.several,
    event_id: 'called',
  });
  const { outputs } = (await called.json()) as { outputs: object };
  expect(outputs).toMatchObject({ embedding: [2, 4, 6], grid: [[1, 2, 3]], whole: 6, positive: true });
  const lines = ['streamed-1', 'streamed-2'].map((event_id) =>
    JSON.stringify({ ...toyEvents.several, event_id }),
  );
  await system.post('/v1/pipelines/several/events', lines.join('\n'), {
    'content-type': 'application/x-ndjson',
  });

  const rows = await rowsOf(['called', 'streamed-1', 'streamed-2'], 6);
  for (const row of rows) expect(JSON.parse(row.outputs)).toEqual(outputs);
  expect(rows.map(({ role, model_version }) => [role, model_version])).toEqual(
    Array.from({ length: 3 }, () => [['champion', '1'], ['shadow', '2']]).flat(), // prettier-ignore
  );
  expect(
    await system.sql(
      "SELECT JSONExtract(outputs, 'embedding', 'Array(Float64)') AS embedding, JSONExtractFloat(outputs, 'score', 'z') > 0.66 AS z FROM millrace.predictions WHERE event_id = 'called' AND role = 'champion'",
    ),
  ).toEqual([{ embedding: [2, 4, 6], z: 1 }]);
});

it('a file has them as JSON text in a cell, if they are more than the score, and as an object in a line', async () => {
  const iris = await result('iris-columns', csvOf(toyEvents['iris-columns']), 'iris.csv');
  const [species] = parse<Record<string, string>>(iris, { columns: true });
  expect(species).toMatchObject({ label: 'versicolor', error: '' });
  const { species: shares } = JSON.parse(species?.['outputs'] ?? '') as { species: Record<string, number> };
  expect(Object.keys(shares)).toEqual(['setosa', 'versicolor', 'virginica']);
  expect(Number(species?.['prediction'])).toBe(shares['versicolor']);

  const binary = await result('binary', csvOf(toyEvents.binary), 'binary.csv');
  expect(binary.split('\n')[0]).toBe('a,b,c,prediction,label,model,model_version,event_id,error');

  const line = await result('window', `${JSON.stringify(toyEvents.window)}\n`, 'window.jsonl');
  expect(JSON.parse(line)).toMatchObject({ prediction: 6, outputs: { forecast: [6, 3.5] }, error: null });
});
