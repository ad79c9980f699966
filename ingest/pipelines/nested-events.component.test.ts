/* oxlint-disable typescript/no-unsafe-type-assertion -- answers in JSON */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toyEvents, writeToyProject } from '../../processors/testing/toy-project.js';
import type { Document } from '../testing/openapi-validator.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';

const path = '/v1/pipelines/order';
const order = toyEvents.order;

let api: TestApp;
let project: Awaited<ReturnType<typeof writeToyProject>>;
beforeAll(async () => {
  project = await writeToyProject();
  api = await startTestApp({ MILLRACE_PROJECT: project.folder });
});
afterAll(async () => {
  await api.stop();
  await project.remove();
});

async function problemOf(body: unknown): Promise<Record<string, string>> {
  const response = await api.post(`${path}/predict`, body);
  expect(response.status).toBe(422);
  const { errors } = (await response.json()) as { errors: { field: string; problem: string }[] };
  return Object.fromEntries(errors.map(({ field, problem }) => [field, problem]));
}

test('a nested event is scored, and is on the log as it came', async () => {
  const { customer, tags } = order;
  const event = {
    event_id: 'nested-1',
    tags: { z: 1, ...tags },
    amounts: [1, 2.5],
    customer: { age: customer.age },
  };
  const response = await api.post(`${path}/predict`, event);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ event_id: 'nested-1', score: expect.any(Number) as number });
  const { pipelines } = api.options;
  const { type } = pipelines.get('order')?.event ?? expect.unreachable();
  const [record] = api.log.of('order.events').slice(-1);
  const logged = await api.log.serde.decode(record?.value ?? null, type);
  const complete = { customer: { age: 30, address: null }, amounts: [1, 2.5], tags: { red: -4, z: 1 } };
  expect(JSON.stringify(logged)).toBe(JSON.stringify(complete));
});

test('the same event with another order of keys is a repetition, with another value a conflict', async () => {
  const event = { event_id: 'nested-2', ...order, tags: { a: 1, b: 2 } };
  const first = await api.post(`${path}/predict`, event);
  const again = await api.post(`${path}/predict`, { ...event, tags: { b: 2, a: 1 }, customer: { age: 30 } });
  expect(await again.json()).toEqual(await first.json());
  const other = await api.post(`${path}/predict`, { ...event, tags: { a: 1, b: 3 } });
  expect(await other.json()).toMatchObject({ code: 'EVENT_ID_CONFLICT' });
});

test('errors name the path, in lists too', async () => {
  expect(await problemOf({ ...order, customer: { age: 17, agee: 1 }, amounts: [1, '2', null] })).toEqual({
    'customer.age': 'must be a whole number from 18 to 2147483647',
    'customer.agee': 'is not a field of this event',
    'amounts.1': 'must be a number',
    'amounts.2': 'must be a number',
  });
  const lines = [order, { ...order, tags: { red: 'x' } }].map((line) => JSON.stringify(line)).join('\n');
  const response = await api.post(`${path}/events`, lines, { 'content-type': 'application/x-ndjson' });
  expect(await response.json()).toMatchObject({
    accepted: 1,
    rejected: [{ index: 1, errors: [{ field: 'tags.red', problem: 'must be a number' }] }],
  });
});

test('hostile nesting and keys are refused, and change nothing', async () => {
  const body = (tags: string): string =>
    JSON.stringify({ ...order, tags: 0 }).replace('"tags":0', `"tags":${tags}`);
  for (const [tags, problem] of [
    ['{"__proto__": 1}', { 'tags.__proto__': 'can’t be the key of a map' }],
    ['{"__proto__": {"red": 1}}', { 'tags.__proto__': 'can’t be the key of a map' }],
    ['{"\\ud800": 1}', { 'tags.\ud800': 'has half of a character (a lone surrogate) in its key' }],
    [`{"red": ${'['.repeat(20_000)}${']'.repeat(20_000)}}`, { 'tags.red': 'must be a number' }],
    [`{"red": ${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`, { 'tags.red': 'must be a number' }],
  ] as const)
    expect(await problemOf(body(tags))).toEqual(problem);
  expect(Object.keys(Object.prototype)).toEqual([]);
  // As many values as the contract allows are read, and some more.
  const many = `[${'0,'.repeat(20_000)}0]`;
  expect(await problemOf(JSON.stringify({ ...order, amounts: [] }).replace('[]', many))).toEqual({
    amounts: 'must have from 0 to 10000 items, and has 20001',
  });
  const tooMany = await api.post(`${path}/predict`, body(`{"red": [${'0,'.repeat(60_000)}0]}`));
  expect([tooMany.status, await tooMany.json()]).toMatchObject([413, { code: 'BODY_TOO_LARGE' }]);
  // As in any JSON, the last of several equal keys counts.
  const response = await api.post(`${path}/predict`, body('{"red": "x", "red": 1}'));
  expect(response.status).toBe(200);
});

test('the document describes nested events by the checks themselves, with an example', async () => {
  const document = (await (await api.get('/openapi.json')).json()) as Document;
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  const { OrderEvent: schema = {} } = document.components.schemas;
  const validate: ValidateFunction = ajv.compile(schema);
  expect(validate({ ...order, event_id: 'a' })).toBe(true);
  expect(validate({ ...order, customer: { age: 20 } })).toBe(true);
  for (const wrong of [
    { customer: { age: 17 } },
    { customer: { age: 20, agee: 1 } },
    { customer: null },
    { amounts: ['1'] },
    { amounts: {} },
    { tags: { red: null } },
    { tags: [] },
  ])
    expect(validate({ ...order, ...wrong })).toBe(false);
  const [example] = schema['examples'] as object[];
  expect(validate(example)).toBe(true);
  expect((await api.post(`${path}/predict`, example)).status).toBe(200);
  expect(document.paths[`${path}/predict`]).toMatchObject({
    post: { operationId: expect.any(String) as string },
  });
});
