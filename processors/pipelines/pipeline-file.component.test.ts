import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { loadPipeline } from './load-pipelines.js';
import { seededRandom } from './sampler.js';

const parent = await mkdtemp(join(tmpdir(), 'pipeline-file-'));
afterAll(() => rm(parent, { recursive: true }));

const customer = {
  type: 'record',
  name: 'Customer',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'age', type: ['null', 'int'], default: null },
  ],
};
const contract = {
  type: 'record',
  name: 'Churn',
  fields: [
    { name: 'amount', type: 'double' },
    { name: 'plan', type: { type: 'enum', name: 'Plan', symbols: ['A', 'B'] } },
    { name: 'channel', type: 'string' },
    { name: 'customer', type: customer },
    { name: 'readings', type: { type: 'array', items: 'double' } },
  ],
};
const event = { amount: 1, plan: 'A', channel: 'web', customer: { id: 'c1', age: null }, readings: [1] };

let project: string;
beforeEach(async () => {
  project = await mkdtemp(join(parent, 'project-'));
  await write('schemas/churn/event.v1.avsc', contract);
});

async function write(path: string, content: string | object): Promise<void> {
  const file = join(project, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content, undefined, 2));
}

const place = 'processors/pipelines/churn/pipeline.json';

async function load(content: string | object, name = 'churn') {
  await write(`processors/pipelines/${name}/pipeline.json`, content);
  return loadPipeline(project, name);
}

/** The message of the error, without the project's folder. */
async function refusal(content: string | object): Promise<string> {
  const error = await load(content).then(
    () => undefined,
    (problem: unknown) => problem as Error,
  );
  return error?.message.replaceAll(`${project}/`, '') ?? 'accepted';
}

describe('pipeline.json', () => {
  it('may be an empty object: contract and model have the pipeline’s name', async () => {
    const { pipeline, contract: loaded } = await load({});
    expect(pipeline).toEqual({ name: 'churn', models: ['churn'] });
    expect([loaded.version, loaded.schema.name]).toEqual([1, 'Churn']);
  });

  it('names another contract', async () => {
    const { contract: loaded } = await load({ contract: 'schemas/churn' }, 'churn-of-old');
    expect(loaded.schema.name).toBe('Churn');
  });

  it('maps inputs to fields of any depth', async () => {
    const inputs = { age: 'customer.age', first: 'readings.0', all: 'readings' };
    expect((await load({ inputs })).pipeline).toMatchObject({ inputs });
  });

  it('names the key, and leaves it out where the event has none', async () => {
    const { pipeline } = await load({ key: 'customer.id' });
    expect(pipeline.key?.(event)).toBe('c1');
    expect((await load({ key: 'amount' })).pipeline.key?.(event)).toBe('1');
    expect((await load({ key: 'customer.age' })).pipeline.key?.(event)).toBeUndefined();
  });

  it('selects the model by the value of a field', async () => {
    const { pipeline } = await load({ model: { field: 'plan', by_value: { A: 'small', B: 'large' } } });
    expect(pipeline.models).toEqual(['small', 'large']);
    expect(['A', 'B'].map((plan) => pipeline.model?.({ ...event, plan }))).toEqual(['small', 'large']);
  });

  it('has no model for a text without one', async () => {
    const { pipeline } = await load({ model: { field: 'channel', by_value: { web: 'w', shop: 's' } } });
    expect(() => pipeline.model?.({ ...event, channel: 'toString' })).toThrow(
      'channel is toString, and there are models for web, shop',
    );
  });

  it('draws samples from a file of events', async () => {
    await write(
      'examples/churn.jsonl',
      `${JSON.stringify(event)}\n\n${JSON.stringify({ ...event, amount: 2 })}\n`,
    );
    const { pipeline } = await load({ sample: { events: 'examples/churn.jsonl' } });
    const random = seededRandom(1);
    const drawn = new Set(Array.from({ length: 20 }, () => JSON.stringify(pipeline.sample?.(random))));
    expect(drawn).toEqual(new Set([JSON.stringify(event), JSON.stringify({ ...event, amount: 2 })]));
  });

  it('draws samples from figures, and values that go together', async () => {
    const fields = contract.fields.filter(({ name }) => ['amount', 'plan', 'channel'].includes(name));
    await write('schemas/churn/event.v1.avsc', { ...contract, fields });
    const pairs = [
      [['A', 'web'], 0.5],
      [['B', 'shop'], 0.5],
    ];
    await write('figures.json', {
      probabilities: [0, 1],
      columns: [
        { name: 'pair', kind: 'joint', fields: ['plan', 'channel'], frequencies: pairs },
        { name: 'amount', kind: 'numeric', step: 2, quantiles: [10, 20] },
      ],
      correlation: [
        [1, 0.5],
        [0.5, 1],
      ],
    });
    const { pipeline } = await load({ sample: { figures: 'figures.json' } });
    const random = seededRandom(1);
    const drawn = Array.from({ length: 200 }, () => pipeline.sample?.(random) as typeof event);
    expect(new Set(drawn.map(({ plan, channel }) => `${plan} ${channel}`))).toEqual(
      new Set(['A web', 'B shop']),
    );
    for (const { amount } of drawn) expect([10, 12, 14, 16, 18, 20]).toContain(amount);
  });
});

describe('an invalid pipeline.json', () => {
  it.each([
    ['no JSON', '{\n  "key": plan\n}', `${place}:2: not JSON: `],
    ['an unknown member', { keys: 'plan' }, `${place}:2: keys: there is no such member. Did you mean key?`],
    ['a value of another type', { models: 'a' }, `${place}:2: models: Invalid input: expected array`],
    [
      'a path that no event has',
      { key: 'customer.id', inputs: { x: 'amount', age: 'customer.agee' } },
      `${place}:5: inputs.age: there is no field customer.agee in schemas/churn/event.v1.avsc. Did you mean customer.age?`,
    ],
    [
      'a path like no other',
      { inputs: { age: 'zip' } },
      `${place}:3: inputs.age: there is no field zip in schemas/churn/event.v1.avsc. There are: amount, plan, channel, customer.id, customer.age, readings.`,
    ],
    [
      'a record as an input',
      { inputs: { age: 'customer' } },
      `${place}:3: inputs.age: customer is a value of type record, which can’t be used here. Name a field of it: customer.id, customer.age.`,
    ],
    [
      'an array as the key',
      { key: 'readings' },
      `${place}:2: key: readings is a value of type array of double`,
    ],
    ['several models', { models: ['a', 'b'] }, `${place}:2: models: needs \`model\` beside it`],
    [
      'a model that is not listed',
      { models: ['small', 'large'], model: { field: 'plan', by_value: { A: 'smal', B: 'large' } } },
      `${place}:9: model.by_value.A: smal is not in \`models\`. Did you mean small?`,
    ],
    [
      'a value without a model',
      { model: { field: 'plan', by_value: { A: 'small' } } },
      `${place}:4: model.by_value: has no model for B, which plan can be.`,
    ],
    [
      'a value that the field never has',
      { model: { field: 'plan', by_value: { A: 'a', B: 'b', C: 'c' } } },
      `${place}:7: model.by_value.C: plan is never C. It is one of A, B.`,
    ],
    [
      'no models by value',
      { model: { field: 'channel', by_value: {} } },
      `${place}:4: model.by_value: has no value.`,
    ],
    [
      'a contract that is not there',
      { key: 'x', contract: 'schemas/churm' },
      `${place}:3: contract: there is no folder schemas/churm in`,
    ],
    ['two samples', { sample: { events: 'a', figures: 'b' } }, `${place}:2: sample: has to have one of`],
    [
      'a sample that is not there',
      { sample: { events: 'a.jsonl' } },
      `${place}:2: sample: events: cannot read a.jsonl: ENOENT`,
    ],
  ])('names file, line and member of %s', async (_, content, expected) => {
    const message = await refusal(content);
    expect(message.slice(0, expected.length)).toBe(expected);
  });

  it('says which contract is meant', async () => {
    expect(await refusal({ contract: 'schemas/churm' })).toMatch(/Did you mean schemas\/churn\?\.?$/);
  });

  it('tells all that is wrong with it', async () => {
    const message = await refusal({ key: 'x', inputs: { a: 'y', b: 'z' } });
    expect(message.split('\n').map((line) => line.split(': ').slice(0, 2).join(': '))).toEqual([
      `${place}:2: key`,
      `${place}:4: inputs.a`,
      `${place}:5: inputs.b`,
    ]);
  });

  it('refuses a file of sample events that would take much memory', async () => {
    await write('events.jsonl', '\n'.repeat(10_000_001));
    expect(await refusal({ sample: { events: 'events.jsonl' } })).toMatch(
      /sample: events: .*events\.jsonl has 10 MB, more than 10 MB/,
    );
  });

  it('names the line of a sample event that does not fit', async () => {
    await write('events.jsonl', `${JSON.stringify(event)}\n${JSON.stringify({ ...event, plan: 'C' })}\n`);
    expect(await refusal({ sample: { events: 'events.jsonl' } })).toMatch(
      /pipeline\.json:2: sample: events: events\.jsonl:2: the event does not fit the contract: plan must be one of A, B/,
    );
  });

  it('names the line of figures that don’t fit', async () => {
    await write('figures.json', '{\n"probabilities": [0, 1],\n"columns": [],\n"correlation": []}');
    expect(await refusal({ sample: { figures: 'figures.json' } })).toMatch(
      /pipeline\.json:2: sample: figures\.json:3: columns: /,
    );
  });
});
