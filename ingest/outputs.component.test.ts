import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toyEvents, writeToyProject } from '../processors/testing/toy-project.js';
import type { Prediction } from './pipelines/schemas.js';
import { exampleEvent } from './testing/examples.js';
import { type Document, OpenApiValidator } from './testing/openapi-validator.js';
import { startTestApp, type TestApp } from './testing/test-app.js';

type Name = keyof typeof toyEvents;

interface Tensor {
  name: string;
  datatype: string;
  shape: number[];
  parameters?: { classes?: string[] };
  data: unknown[];
}

const close = (number: number): number => expect.closeTo(number, 5) as number;
const setosa = { setosa: close(0.98166), versicolor: close(0.01834), virginica: close(0) };
const versicolor = { setosa: close(0.00302), versicolor: close(0.85989), virginica: close(0.13709) };

/** What each pipeline answers to its event. */
const expected = {
  'iris-zipmap': { score: close(0.98166), label: 'setosa', outputs: { species: setosa } },
  'iris-columns': { score: close(0.85989), label: 'versicolor', outputs: { species: versicolor } },
  window: { score: 6, label: null, outputs: { forecast: [6, 3.5] } },
  several: {
    score: close(0.99753),
    label: 'high',
    outputs: {
      risk: close(0.99753),
      embedding: [2, 4, 6],
      grid: [[1, 2, 3]],
      whole: 6,
      positive: true,
      label: 'yes',
      score: { x: close(0.09003), y: close(0.24473), z: close(0.66524) },
    },
  },
  binary: { score: close(0.00247), label: 'low', outputs: { risk: close(0.00247) } },
  worded: { score: close(0.99753), label: 'yes', outputs: { risk: close(0.99753) } },
  order: { score: close(0.73106), label: 'high', outputs: { risk: close(0.73106) } },
} satisfies Record<Name, object>;

const names = Object.keys(toyEvents) as Name[];

let project: Awaited<ReturnType<typeof writeToyProject>>;
let api: TestApp;
beforeAll(async () => {
  project = await writeToyProject();
  api = await startTestApp({ MILLRACE_PROJECT: project.folder });
});
afterAll(async () => {
  await api.stop();
  await project.remove();
});

/** An event's fields as tensors with one row. */
function tensorsOf(event: object): Tensor[] {
  return Object.entries(event).map(([name, value]: [string, unknown]) => {
    const data = Array.isArray(value) ? (value as unknown[]) : [value];
    return { name, datatype: 'FP64', shape: Array.isArray(value) ? [1, data.length] : [1], data };
  });
}

const orderTensors: Tensor[] = [
  { name: 'customer.age', datatype: 'INT32', shape: [1], data: [30] },
  { name: 'customer.address.city', datatype: 'BYTES', shape: [1], data: [null] },
  { name: 'amounts', datatype: 'FP64', shape: [1, 2], data: [1, 2.5] },
  { name: 'tags', datatype: 'BYTES', shape: [1], data: ['{"red":-4}'] },
];

async function infer(
  model: string,
  body: object,
): Promise<{ status: number; error?: string; outputs: Tensor[] }> {
  const response = await api.post(`/v2/models/${model}/infer`, body);
  return { status: response.status, ...((await response.json()) as { outputs: Tensor[] }) };
}

describe.each(names)('a prediction of %s', (name) => {
  it('has score, label and all outputs, in each answer over HTTP', async () => {
    const event = { ...toyEvents[name], event_id: `one-${name}` };
    const path = `/v1/pipelines/${name}/predict`;
    const response = await api.post(path, event);
    expect(response.status).toBe(200);
    const prediction = (await response.json()) as Prediction;
    expect(prediction).toMatchObject(expected[name]);
    expect(Object.keys(prediction.outputs)).toEqual(Object.keys(expected[name].outputs));
    const again = (await (await api.post(path, event)).json()) as Prediction;
    expect(again).toEqual(prediction);
    const stored = (await (await api.get(`/v1/predictions/one-${name}`)).json()) as Prediction;
    expect(stored).toMatchObject({ ...prediction });
    const lines = [toyEvents[name], toyEvents[name]].map((each) => JSON.stringify(each)).join('\n');
    const many = await api.post(path, lines, { 'content-type': 'application/x-ndjson' });
    const { predictions } = (await many.json()) as { predictions: Prediction[] };
    expect(predictions).toMatchObject([expected[name], expected[name]]);
  });

  it('fits the OpenAPI document', async () => {
    const validator = new OpenApiValidator((await (await api.get('/openapi.json')).json()) as Document);
    const path = `/v1/pipelines/${name}/predict`;
    const predicted = await api.post(path, { ...toyEvents[name], event_id: `document-${name}` });
    expect(await validator.check(`POST ${path}`, predicted)).toEqual([]);
    const found = await api.get(`/v1/predictions/document-${name}`);
    expect(await validator.check('GET /v1/predictions/{eventId}', found)).toEqual([]);
    const metadata = await api.get(`/v2/models/${name}`);
    expect(await validator.check('GET /v2/models/{model}', metadata)).toEqual([]);
  });

  it('is a tensor for each output over the inference protocol, as the metadata says', async () => {
    const metadata = (await (await api.get(`/v2/models/${name}`)).json()) as {
      inputs: Tensor[];
      outputs: Tensor[];
    };
    const inputs = name === 'order' ? orderTensors : tensorsOf(toyEvents[name]);
    expect(metadata.inputs.map((input) => input.name)).toEqual(inputs.map((input) => input.name));
    const few = await infer(name, { inputs });
    const usual = expected[name].label === null ? ['score'] : ['score', 'label'];
    expect(few.outputs.map((output) => output.name)).toEqual(usual);
    const all = await infer(name, { inputs, outputs: metadata.outputs });
    expect(all.status).toBe(200);
    for (const [index, described] of metadata.outputs.entries()) {
      const { data = [], ...tensor } = all.outputs[index] ?? {};
      expect(tensor).toEqual({ ...described, shape: [1, ...described.shape.slice(1)] });
      expect(data).toHaveLength(described.shape.slice(1).reduce((size, length) => size * length, 1));
    }
  });
});

it('an output with an element that is no finite number fails its event alone', async () => {
  const { several } = toyEvents;
  // Twice this is beyond a 32-bit float.
  const events = [several, { ...several, a: 3e38 }, several];
  const response = await api.post('/v1/pipelines/several/predict', events);
  expect(response.status).toBe(207);
  const { predictions } = (await response.json()) as { predictions: object[] };
  expect(predictions).toMatchObject([expected.several, { code: 'OUTPUT_INVALID' }, expected.several]);
  const inputs = ['a', 'b', 'c'].map((name) => ({
    name,
    datatype: 'FP64',
    shape: [2],
    data: [1, name === 'a' ? 3e38 : 1],
  }));
  const refused = await infer('several', { inputs, outputs: [{ name: 'embedding' }] });
  expect(refused).toMatchObject({
    status: 400,
    error: expect.stringMatching(/^Row 1: .*embedding is Infinity/),
  });
});

describe('over the inference protocol', () => {
  async function outputs(model: string): Promise<Tensor[]> {
    return ((await (await api.get(`/v2/models/${model}`)).json()) as { outputs: Tensor[] }).outputs;
  }

  it('classes are columns with their names, vectors and grids have their shapes', async () => {
    expect(await outputs('iris-zipmap')).toEqual([
      { name: 'score', datatype: 'FP64', shape: [-1] },
      { name: 'label', datatype: 'BYTES', shape: [-1] },
      {
        name: 'species',
        datatype: 'FP32',
        shape: [-1, 3],
        parameters: { classes: ['setosa', 'versicolor', 'virginica'] },
      },
    ]);
    expect(await outputs('window')).toEqual([
      { name: 'score', datatype: 'FP64', shape: [-1] },
      { name: 'forecast', datatype: 'FP32', shape: [-1, 2] },
    ]);
  });

  it('an output whose name is taken has a prefix', async () => {
    const described = await outputs('several');
    expect(described.map(({ name, datatype, shape }) => [name, datatype, shape])).toEqual([
      ['score', 'FP64', [-1]],
      ['label', 'BYTES', [-1]],
      ['risk', 'FP32', [-1]],
      ['embedding', 'FP32', [-1, 3]],
      ['grid', 'FP32', [-1, 1, 3]],
      ['whole', 'INT64', [-1]],
      ['positive', 'BOOL', [-1]],
      ['outputs.label', 'BYTES', [-1]],
      ['outputs.score', 'FP32', [-1, 3]],
    ]);
    const wanted = ['outputs.label', 'label', 'positive', 'event_id'].map((name) => ({ name }));
    const inputs = [
      ...tensorsOf(toyEvents.several),
      { name: 'event_id', datatype: 'BYTES', shape: [1], data: ['several-1'] },
    ];
    const answer = await infer('several', { inputs, outputs: wanted });
    expect(answer.outputs.map(({ data }) => data)).toEqual([['yes'], ['high'], [true], ['several-1']]);
  });

  it('rows follow each other in the data of a tensor', async () => {
    const readings = [0, 0, 0, 0, 0, 3];
    const inputs = [
      { name: 'readings', datatype: 'FP64', shape: [2, 6], data: [toyEvents.window.readings, readings] },
    ];
    const { outputs: tensors } = await infer('window', { inputs, outputs: [{ name: 'forecast' }] });
    expect(tensors).toEqual([{ name: 'forecast', datatype: 'FP32', shape: [2, 2], data: [6, 3.5, 3, 0.5] }]);
  });

  it('a nested event that breaks its contract is refused with the path of the field', async () => {
    const [age, ...others] = orderTensors;
    const inputs = [{ ...age, data: [17] }, ...others];
    expect(await infer('order', { inputs })).toMatchObject({
      status: 400,
      error: expect.stringMatching(/^Row 0: customer\.age/),
    });
    const tags = { name: 'tags', datatype: 'BYTES', shape: [1], data: ['{"red":"much"}'] };
    const wrong = await infer('order', { inputs: [...orderTensors.slice(0, 3), tags] });
    expect(wrong).toMatchObject({ status: 400, error: expect.stringMatching(/^Row 0: tags\.red/) });
  });

  it('a repeated event whose first prediction has no outputs is refused for them, not for its score', async () => {
    const id = 'of-an-earlier-release';
    await api.post('/v1/pipelines/window/predict', { ...toyEvents.window, event_id: `${id}-new` });
    const [row] = await api.options.cache.recallAnywhere(['window'], `${id}-new`);
    if (row === undefined) throw new Error('there is no prediction');
    api.stored.push({ ...row, event_id: id, outputs: '{}' });
    const inputs = [
      ...tensorsOf(toyEvents.window),
      { name: 'event_id', datatype: 'BYTES', shape: [1], data: [id] },
    ];
    expect((await infer('window', { inputs })).outputs).toMatchObject([{ name: 'score', data: [6] }]);
    expect(await infer('window', { inputs, outputs: [{ name: 'forecast' }] })).toMatchObject({
      status: 400,
      error: expect.stringContaining('Row 0: its prediction, by version 1 of window, has no output forecast'),
    });
  });
});

it('the shipped pipelines answer as before, and with the outputs of their models', async () => {
  const shipped = await startTestApp();
  try {
    for (const [name, output] of [
      ['credit-default', 'probability_of_default'],
      ['car-price', 'price'],
      ['taxi-trip-duration', 'minutes'],
    ]) {
      const response = await shipped.post(`/v1/pipelines/${name}/predict`, exampleEvent(String(name)));
      const { outputs, score } = (await response.json()) as Prediction;
      expect(outputs).toEqual({ [String(output)]: score });
    }
    const price = await shipped.post('/predict', exampleEvent('car-price'));
    expect(Object.keys((await price.json()) as object)).toEqual([
      'predicted_price',
      'event_id',
      'model',
      'model_version',
    ]);
  } finally {
    await shipped.stop();
  }
});
