import { afterAll, beforeAll, expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { exampleEvent } from '../testing/examples.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';

const client = exampleEvent('credit-default');
const model = '/v2/models/credit-default';

interface Tensor {
  name: string;
  datatype: string;
  shape: number[];
  data: unknown[];
}

interface Inference {
  id?: string;
  model_name: string;
  model_version: string;
  outputs: Tensor[];
}

let api: TestApp;

beforeAll(async () => {
  api = await startTestApp({ MAX_EVENTS_PER_REQUEST: '1000' });
});

afterAll(async () => {
  await api.stop();
});

/** Clients as tensors, a column each. */
function tensors(clients: Record<string, unknown>[], shape = [clients.length]): Tensor[] {
  return Object.keys(clients[0] ?? {}).map((name) => ({
    name,
    datatype: 'FP64',
    shape,
    data: clients.map((each) => each[name]),
  }));
}

async function refusal(body: unknown, headers?: Record<string, string>): Promise<string> {
  const response = await api.post(`${model}/infer`, body, headers);
  expect(response.status).toBe(400);
  const { error } = (await response.json()) as { error: string };
  return error;
}

function eventsOnTheLog(): number {
  return api.log.of('credit-default.events').length;
}

it('describes the server and the model', async () => {
  expect(await (await api.get('/v2')).json()).toEqual({
    name: 'millrace',
    version: expect.any(String),
    extensions: [],
  });
  expect(await (await api.get('/v2/health/live')).json()).toMatchObject({ live: true });
  expect((await api.get('/v2/health/ready')).status).toBe(200);
  for (const path of [model, `${model}/versions/1`]) {
    const metadata = (await (await api.get(path)).json()) as { inputs: Tensor[] };
    expect(metadata).toMatchObject({
      name: 'credit-default',
      versions: ['1'],
      platform: 'onnx_onnxv1',
      outputs: [
        { name: 'score', datatype: 'FP64', shape: [-1] },
        { name: 'label', datatype: 'BYTES', shape: [-1] },
        { name: 'probability_of_default', datatype: 'FP32', shape: [-1] },
      ],
    });
    expect(metadata.inputs.map(({ name }) => name)).toEqual(Object.keys(client));
    expect(metadata.inputs[0]).toEqual({ name: 'LIMIT_BAL', datatype: 'FP64', shape: [-1] });
    expect(metadata.inputs[1]).toEqual({ name: 'SEX', datatype: 'INT32', shape: [-1] });
    expect(await (await api.get(`${path}/ready`)).json()).toEqual({ name: 'credit-default', ready: true });
  }
});

it('refuses other models and versions that are not loaded', async () => {
  for (const path of ['/v2/models/nope', `${model}/versions/2`, `${model}/versions/2/ready`, '/v2/nothing']) {
    const response = await api.get(path);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: expect.stringMatching(/nope|'2'|nothing/) });
  }
  expect((await api.post(`${model}/versions/2/infer`, { inputs: tensors([client]) })).status).toBe(404);
});

it('scores each row as an event like any other', async () => {
  const clients = [10_000, 90_000, 500_000].map((LIMIT_BAL) => ({ ...client, LIMIT_BAL }));
  const predicted = await api.post('/v1/pipelines/credit-default/predict', clients);
  const { predictions } = (await predicted.json()) as { predictions: { score: number; label: string }[] };
  const before = eventsOnTheLog();
  for (const shape of [[3], [3, 1]]) {
    const response = await api.post(`${model}/infer`, { id: '42', inputs: tensors(clients, shape) });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      id: '42',
      model_name: 'credit-default',
      model_version: '1',
      outputs: [
        { name: 'score', datatype: 'FP64', shape: [3], data: predictions.map(({ score }) => score) },
        { name: 'label', datatype: 'BYTES', shape: [3], data: predictions.map(({ label }) => label) },
      ],
    } satisfies Inference);
  }
  expect(eventsOnTheLog()).toBe(before + 6);
});

it('answers with the requested outputs, ids of the events among them', async () => {
  const inputs = [
    ...tensors([client]),
    { name: 'event_id', datatype: 'BYTES', shape: [1], data: ['triton-1'] },
  ];
  const response = await api.post(`${model}/versions/1/infer`, {
    inputs,
    outputs: [{ name: 'event_id' }, { name: 'score', parameters: { binary_data: false } }],
  });
  const { outputs, id } = (await response.json()) as Inference;
  expect(id).toBeUndefined();
  expect(outputs.map(({ name }) => name)).toEqual(['event_id', 'score']);
  expect(outputs[0]?.data).toEqual(['triton-1']);
  const found = (await (await api.get('/v1/predictions/triton-1')).json()) as { score: number };
  expect(found.score).toBe(outputs[1]?.data[0]);
});

it('reads integers of every size, and nested data', async () => {
  const inputs = tensors([client, client], [2, 1]).map((tensor) => ({
    ...tensor,
    datatype: tensor.name === 'AGE' ? 'UINT8' : tensor.name === 'SEX' ? 'INT64' : 'FP32',
    data: tensor.data.map((value) => [value]),
  }));
  expect((await api.post(`${model}/infer`, { inputs })).status).toBe(200);
});

it('refuses the whole request for one bad row, naming row and field, and logs nothing', async () => {
  const before = eventsOnTheLog();
  const inputs = tensors([client, { ...client, AGE: 17 }, client]);
  expect(await refusal({ inputs })).toBe('Row 1: AGE must be a whole number from 18 to 120');
  const missing = inputs.filter(({ name }) => name !== 'SEX');
  expect(await refusal({ inputs: missing })).toContain('Row 0: SEX is missing');
  expect(eventsOnTheLog()).toBe(before);
});

it('names the tensor that is invalid', async () => {
  const before = eventsOnTheLog();
  const inputs = tensors([client]);
  const [first, ...others] = inputs;
  const change = (changes: object): object => ({ inputs: [{ ...first, ...changes }, ...others] });
  expect(await refusal(change({ name: 'WEIGHT' }))).toContain('no input WEIGHT');
  expect(await refusal(change({ name: 'SEX' }))).toContain('SEX is there twice');
  expect(await refusal(change({ shape: [1, 2] }))).toContain('shape [1, 2]');
  expect(await refusal(change({ shape: [2] }))).toContain('LIMIT_BAL has 2.');
  expect(await refusal(change({ data: [1, 2] }))).toContain('2 elements');
  expect(await refusal(change({ datatype: 'BYTES' }))).toContain('takes INT8');
  expect(await refusal(change({ datatype: 'COMPLEX' }))).toContain('datatype COMPLEX');
  expect(await refusal(change({ data: ['much'] }))).toContain('Row 0, LIMIT_BAL: "much"');
  expect(await refusal({ inputs: tensors([client], [0]) })).toContain('no rows');
  expect(await refusal({ inputs: [] })).toContain('inputs');
  expect(await refusal({ inputs, outputs: [{ name: 'probability' }] })).toContain('no output probability');
  expect(await refusal({ inputs, outputs: [{ name: 'score' }, { name: 'score' }] })).toContain('twice');
  expect(await refusal(`{"inputs": [${'1,'.repeat(2_000_000)}1]}`)).toContain('inputs');
  const nested = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const deep = `{"inputs": [{"name": "AGE", "datatype": "FP64", "shape": [1], "data": [[${nested}]]}]}`;
  expect(await refusal(deep)).toContain('a list is no element');
  expect(await refusal('{"inputs": [')).toContain('no JSON');
  expect(await refusal('null')).toContain('not as the protocol has it');
  const huge = inputs.map((tensor) => ({ ...tensor, shape: [4_000_000_000], data: [1] }));
  const response = await api.post(`${model}/infer`, { inputs: huge });
  expect(response.status).toBe(413);
  expect(eventsOnTheLog()).toBe(before);
});

it('refuses binary tensors with the alternative', async () => {
  const [first, ...others] = tensors([client]);
  const binary = { ...first, data: undefined, parameters: { binary_data_size: 8 } };
  expect(await refusal({ inputs: [binary, ...others] })).toContain('binary_data=False');
  expect(await refusal('{}', { 'inference-header-content-length': '2' })).toContain('binary_data=False');
});

it('answers 503 in the form of the protocol while the log is unavailable', async () => {
  api.log.failure = new MillraceError('LOG_TIMEOUT', 'No answer.', { retriable: true });
  const response = await api.post(`${model}/infer`, { inputs: tensors([client]) });
  api.log.failure = undefined;
  expect([response.status, response.headers.get('content-type')]).toEqual([503, 'application/json']);
  expect(await response.json()).toEqual({ error: 'No answer.', code: 'LOG_TIMEOUT' });
});
