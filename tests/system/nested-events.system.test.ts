import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { deadLettersCommand } from '../../cli/dead-letters.js';
import { silentLogger } from '../../platform/logger.js';
import { toyEvents, writeToyProject } from '../../processors/testing/toy-project.js';
import { avroType } from '../../schemas/contracts.js';
import type { LogProducer } from '../../streams/log-producer.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { fileForm, type JobAnswer, whenFinished } from './file-jobs.js';
import { runCommand } from './run-command.js';
import { startSystem, type TestSystem } from './start.js';

const { order } = toyEvents;
const topic = 'order.events';
const path = '/v1/pipelines/order';
/** As the contract has it. */
const features = JSON.stringify(order);

let project: Awaited<ReturnType<typeof writeToyProject>>;
let system: TestSystem;
let streams: Streams;
let producer: LogProducer;
let serde: Serde;
let score: number;

beforeAll(async () => {
  project = await writeToyProject();
  system = await startSystem({ MILLRACE_PROJECT: project.folder });
  const { kafka, schema_registry: url } = system.endpoints;
  streams = createStreams({ brokers: kafka, clientId: 'test', logger: silentLogger });
  producer = await streams.createProducer();
  serde = new Serde(new SchemaRegistryClient({ url }));
  const answer = await system.post(`${path}/predict`, { ...order, event_id: 'called' });
  ({ score } = (await answer.json()) as { score: number });
});
afterAll(async () => {
  await streams.close();
  await system.stop();
  await project.remove();
});

const produce = (eventId: string, value: Buffer): Promise<unknown> =>
  producer.send([{ topic, key: eventId, value, headers: { ce_id: eventId } }]);

async function expectRows(...eventIds: string[]): Promise<void> {
  const ids = eventIds.map((id) => `'${id}'`).join(', ');
  const query = `SELECT event_id, score, features FROM millrace.predictions WHERE event_id IN (${ids}) ORDER BY event_id`;
  await expect
    .poll(() => system.sql(query))
    .toEqual(eventIds.toSorted().map((event_id) => ({ event_id, score, features })));
}

it('an event has one score and one row, over HTTP, and as JSON and Avro on the log', async () => {
  const { customer, amounts, tags } = order;
  await system.post(`${path}/events`, `${JSON.stringify({ tags, amounts, customer, event_id: 'line' })}\n`, {
    'content-type': 'application/x-ndjson',
  });
  await produce('as-json', Buffer.from(JSON.stringify({ tags, amounts, customer: { age: customer.age } })));
  // A producer with its own schema: other names, other types, more fields.
  const writer = avroType({
    type: 'record',
    name: 'Purchase',
    fields: [
      { name: 'tags', type: { type: 'map', values: 'int' } },
      { name: 'notes', type: { type: 'array', items: 'string' } },
      {
        name: 'customer',
        type: { type: 'record', name: 'Buyer', fields: [{ name: 'age', type: ['null', 'int'] }] },
      },
      { name: 'amounts', type: { type: 'array', items: 'float' } },
    ],
  });
  const id = await serde.register('purchases', writer);
  const purchase = (age: number | null): Buffer =>
    serde.encode(id, writer, { tags, notes: ['a'], customer: { age }, amounts });
  await produce('as-avro', purchase(customer.age));
  await produce('bad-avro', purchase(null));
  await produce('bad-json', Buffer.from(JSON.stringify({ ...order, amounts: [1, 'x'] })));
  await expectRows('called', 'line', 'as-json', 'as-avro');
  const details = `SELECT event_id, reason, detail FROM millrace.dead_letters WHERE event_id LIKE 'bad-%' ORDER BY event_id`;
  await expect
    .poll(() => system.sql(details))
    .toEqual([
      {
        event_id: 'bad-avro',
        reason: 'UNDECODABLE',
        detail: expect.stringContaining('customer.age is null, the contract has int') as string,
      },
      { event_id: 'bad-json', reason: 'EVENT_INVALID', detail: 'amounts.1 must be a number' },
    ]);
});

it('ClickHouse reads values of nested fields', async () => {
  const read = `SELECT JSONExtractInt(features, 'customer', 'age') AS age, JSONExtract(features, 'amounts', 'Array(Float64)') AS amounts,
    JSONExtract(features, 'tags', 'Map(String, Float64)') AS tags FROM millrace.predictions WHERE event_id = 'called'`;
  await expect.poll(() => system.sql(read)).toEqual([{ age: 30, amounts: [1, 2.5], tags: { red: -4 } }]);
});

it('files have them as columns, as JSON in a column, or as lines', async () => {
  const columns = 'id,customer.age,customer.address.city,amounts.0,amounts.1,amounts.2,tags.red,tags.blue';
  for (const [name, content] of [
    ['columns.csv', `${columns}\n1,30,,1,2.5,,-4,\n2,17,,1,x,,-4,\n`],
    ['json.csv', `customer;amounts;tags\n"{""age"": 30}";[1, 2.5];"{""red"": -4}"\n5;[1;{}\n`],
    ['lines.jsonl', `${features}\n${JSON.stringify({ ...order, customer: { age: 17 } })}\n`],
  ] as const) {
    const { http } = system.endpoints;
    const response = await fetch(http + path + '/files', { method: 'POST', body: fileForm(content, name) });
    const job = await whenFinished(http, ((await response.json()) as JobAnswer).job_id);
    expect(job).toMatchObject({ state: 'done', rows: { total: 2, failed: 1 } });
    const result = await (await fetch(http + job.links.result)).text();
    const [good, bad] = rowsIn(name, result);
    expect(Number(good?.['prediction'])).toBeCloseTo(score, 6);
    expect(bad?.['error']).toMatch(/^EVENT_INVALID: (customer\.age must be|amounts must be JSON)/);
    await expectRows(good?.['event_id'] ?? '');
  }
});

function rowsIn(name: string, result: string): Record<string, string>[] {
  const delimiter = name === 'json.csv' ? ';' : ',';
  if (name.endsWith('csv')) return parse<Record<string, string>>(result, { columns: true, delimiter });
  const lines = result.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as Record<string, string>);
}

it('a dead letter of one is shown as JSON that can be sent again, and is redriven', async () => {
  const { type } = avroOf();
  const id = await serde.register(topic, type);
  const failing = { ...order, amounts: Array.from({ length: 10_001 }, () => 1) };
  await produce('too-many', serde.encode(id, type, failing));
  const found = `SELECT dead_letter_id AS id FROM millrace.dead_letters WHERE event_id = 'too-many'`;
  await expect.poll(() => system.sql(found)).toHaveLength(1);
  const [letter] = await system.sql<{ id: string }>(found);
  const run = (...args: string[]): ReturnType<typeof runCommand> =>
    runCommand(deadLettersCommand(), args, {
      DATA_DIR: system.dataDir,
      MILLRACE_PROJECT: project.folder,
    });
  const { output } = await run('show', letter?.id ?? '', '--json');
  const { value, detail } = JSON.parse(output) as { value: typeof failing; detail: string };
  expect(detail).toBe('amounts must have from 0 to 10000 items, and has 10001');
  expect(value).toEqual(failing);
  const answer = await system.post(`${path}/predict`, { ...value, amounts: order.amounts });
  expect(await answer.json()).toMatchObject({ score });
  expect((await run('redrive', letter?.id ?? '')).output).toContain('1 redriven');
});

function avroOf(): { type: ReturnType<typeof avroType> } {
  const address = { type: 'record', name: 'Address', fields: [{ name: 'city', type: 'string' }] } as const;
  const customer = {
    type: 'record',
    name: 'Customer',
    fields: [
      { name: 'age', type: 'int' },
      { name: 'address', type: ['null', { ...address, fields: [...address.fields] }], default: null },
    ],
  };
  const fields = [
    { name: 'customer', type: customer },
    { name: 'amounts', type: { type: 'array', items: 'double' } },
    { name: 'tags', type: { type: 'map', values: 'double' } },
  ];
  return { type: avroType({ type: 'record', name: 'order', fields } as Parameters<typeof avroType>[0]) };
}
