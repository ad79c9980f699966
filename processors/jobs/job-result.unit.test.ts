import type { ClickHouseClient } from '@clickhouse/client';
import { expect, it } from 'vitest';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import type { InputRow } from './formats/file-format.js';
import { type Job, newRowIds, rowEventId } from './job.js';
import { addedColumns, findOutcomes, rowsWithOutputs, toAddedValues } from './job-result.js';

it('ignores a prediction under a row’s id that was made of other fields, and reads outputs on request', async () => {
  const job = { job_id: 'job', row_ids: newRowIds() } as Job;
  const answers = ['{"x":1}', '{"x":7}'].map((features, index) => ({
    event_id: rowEventId(job, index + 1),
    score: 0.5,
    label: null,
    model: 'm',
    model_version: '1',
    features,
    outputs: '{"species":{"setosa":0.5}}',
  }));
  const queries: string[] = [];
  const client = {
    query: ({ query }: { query: string }) => {
      queries.push(query);
      return Promise.resolve({ json: () => Promise.resolve(answers) });
    },
  };
  const pipeline = {
    name: 'p',
    event: { schema: { fields: [{ name: 'x', type: 'double' }] } },
    scorer: { validate: (event: unknown) => event },
  };
  const rows: InputRow[] = [1, 2].map((x) => ({ values: { x }, original: `{"x":${x}}` }));
  const options = {
    client: client as unknown as ClickHouseClient,
    pipeline: pipeline as unknown as OpenPipeline,
    job,
    typed: true,
    decimals: 'all',
    outputs: true,
  } as const;
  const outcomes = await findOutcomes(options, rows, 1);
  expect(outcomes.map(({ answer, error }) => [answer?.score, error?.split(':')[0]])).toEqual([
    [0.5, undefined],
    [undefined, 'EVENT_ID_CONFLICT'],
  ]);
  await findOutcomes({ ...options, outputs: false }, rows, 1);
  expect(queries.map((query) => query.includes('features, outputs)'))).toEqual([true, false]);
});

it('adds what the models give: outputs only if they are more than the score, except to a line of JSON', () => {
  const job = { score_column: 'prediction' } as Job;
  const columns = (typed: boolean, labels: boolean, outputs: boolean): string[] =>
    addedColumns(job, { typed }, { labels, outputs }).slice(0, -4);
  expect(columns(false, false, false)).toEqual(['prediction']);
  expect(columns(false, true, true)).toEqual(['prediction', 'label', 'outputs']);
  expect(columns(true, true, false)).toEqual(['prediction', 'label', 'outputs']);
  const answer = { score: 1, label: null, model: 'm', model_version: '1', event_id: 'e', features: '{}' };
  const added = (outputs: string | undefined): unknown =>
    toAddedValues(job, {
      number: 1,
      answer: outputs === undefined ? undefined : { ...answer, outputs },
      error: undefined,
    })['outputs'];
  expect(added('{"a":[1]}')).toEqual({ a: [1] });
  expect(added('{}')).toEqual({});
  expect(added(undefined)).toBeNull();
});

it('looks fewer rows up at once, the larger their outputs are', () => {
  expect(
    rowsWithOutputs([{ outputShapes: { score: [] } }, { outputShapes: { species: [3], label: [] } }]),
  ).toBe(2_000);
  expect(
    rowsWithOutputs([{ outputShapes: { score: [] } }, { outputShapes: { a: [20, 200], b: [1000] } }]),
  ).toBe(40);
  expect(rowsWithOutputs([{ outputShapes: { map: [1000, 1000] } }])).toBe(1);
});

it('gives rows UUIDs that sort as the rows do and that no one can predict', () => {
  const job = { job_id: 'job', row_ids: newRowIds() };
  const ids = [1, 2, 9, 10, 15, 16, 255, 99_999_999].map((row) => rowEventId(job, row));
  for (const id of ids)
    expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  expect(ids.toSorted()).toEqual(ids);
  expect(newRowIds()).not.toBe(newRowIds());
  expect(rowEventId({ job_id: 'job', row_ids: null }, 7)).toBe('job-00000007');
});
