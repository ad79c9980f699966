import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { packageRoot } from '../../platform/paths.js';
import { avroType, loadContract } from '../../schemas/contracts.js';
import type { LogProducer } from '../../streams/log-producer.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { startSystem, type TestSystem } from './start.js';

const client = JSON.parse(
  readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
) as object;
const topic = 'credit-default.events';
const contract = loadContract('credit-default', 'event');

interface DeadLetter {
  reason: string;
  value: string;
  topic: string;
  schema_id: number | null;
}

let system: TestSystem;
let streams: Streams;
let producer: LogProducer;
let serde: Serde;

beforeAll(async () => {
  system = await startSystem();
  const { kafka, schema_registry: url } = system.endpoints;
  streams = createStreams({ brokers: kafka, clientId: 'test', logger: silentLogger });
  producer = await streams.createProducer();
  serde = new Serde(new SchemaRegistryClient({ url }));
});

afterAll(async () => {
  await streams.close();
  await system.stop();
});

/** Writes a value to the events topic under an event id, as any Kafka client could. */
async function produce(
  eventId: string,
  value: Buffer | null,
): Promise<{ partition: number; offset: number }> {
  const [position] = await producer.send([{ topic, key: eventId, value, headers: { ce_id: eventId } }]);
  if (position === undefined) throw new Error('no position');
  return position;
}

async function deadLetter(eventId: string): Promise<DeadLetter | undefined> {
  const [row] = await system.sql<DeadLetter>(
    `SELECT reason, detail, hex(value) AS value, topic, schema_id FROM millrace.dead_letters WHERE event_id = '${eventId}'`,
  );
  return row;
}

async function eventually<T>(read: () => Promise<T | undefined>): Promise<T> {
  let found: T | undefined;
  await expect.poll(async () => (found = await read())).toBeDefined();
  return found as T;
}

describe('records on the events topic', () => {
  it('are scored when another Kafka client wrote them, with their origin', async () => {
    const id = await serde.register(topic, contract.type);
    const { partition, offset } = await produce('from-kafka', serde.encode(id, contract.type, client));
    const row = await eventually(async () => {
      const rows = await system.sql(
        `SELECT topic, partition, toInt32(offset) AS offset, schema_id, source FROM millrace.predictions WHERE event_id = 'from-kafka'`,
      );
      return rows[0];
    });
    expect(row).toEqual({ topic, partition, offset, schema_id: id, source: 'kafka' });
  });

  it('are scored like the same Avro when they are JSON, with the metadata of their headers', async () => {
    const id = await serde.register(topic, contract.type);
    await produce('as-avro', serde.encode(id, contract.type, client));
    const value = Buffer.from(`\ufeff${JSON.stringify(client, undefined, 2)}\n`);
    const headers = { ce_id: 'as-json', ce_time: '2026-01-31T12:00:00Z', ce_source: '/branch/7' };
    await producer.send([{ topic, key: 'as-json', value, headers }]);
    const features = 'score, features, schema_id, event_time, source';
    const row = (eventId: string) => async () =>
      (
        await system.sql(`SELECT ${features} FROM millrace.predictions WHERE event_id = '${eventId}'`)
      )[0] as Record<string, unknown>;
    const { score, features: fields, schema_id } = await eventually(row('as-avro'));
    expect(await eventually(row('as-json'))).toEqual({
      score,
      features: fields,
      schema_id,
      event_time: '2026-01-31 12:00:00.000',
      source: '/branch/7',
    });
  });

  it.each([
    ['garbage', Buffer.from('not avro at all'), 'UNDECODABLE'],
    ['an unknown schema id', Buffer.from([0, 0, 15, 66, 63, 1, 2, 3]), 'SCHEMA_UNKNOWN'],
  ])('that are %s become dead letters with the original bytes', async (name, value, reason) => {
    await produce(`bad ${name}`, value);
    const letter = await eventually(() => deadLetter(`bad ${name}`));
    expect(letter).toMatchObject({ reason, topic });
    expect(letter.value ?? '').toBe((value?.toString('hex') ?? '').toUpperCase());
  });

  it('whose prediction the log refuses as too large become dead letters, and the stream continues', async () => {
    const id = await serde.register(topic, contract.type);
    const value = serde.encode(id, contract.type, client);
    // With its key and headers the event just fits; its prediction has the same key and is longer.
    const key = Buffer.alloc(1_048_576 - 61 - value.length - 40, 'k');
    await producer.send([{ topic, key, value, headers: { ce_id: 'too large' } }]);
    await produce('good after too large', value);
    const letter = await eventually(() => deadLetter('too large'));
    expect(letter).toMatchObject({
      reason: 'RECORD_TOO_LARGE',
      topic,
      value: value.toString('hex').toUpperCase(),
    });
    await eventually(
      async () =>
        (await system.sql(`SELECT 1 FROM millrace.predictions WHERE event_id = 'good after too large'`))[0],
    );
  });

  it('follow the compatibility level of their subject, which allows schemas whose values can be read', async () => {
    const register = async (change: object): Promise<Response> =>
      await fetch(`${system.endpoints.schema_registry}/subjects/${topic}-value/versions`, {
        method: 'POST',
        body: JSON.stringify({ schema: JSON.stringify({ ...contract.schema, ...change }) }),
      });
    const ages = (type: unknown): object => ({
      fields: contract.schema.fields.map((field) => (field.name === 'AGE' ? { ...field, type } : field)),
    });
    const refused = await register(ages('long'));
    expect(refused.status).toBe(409);
    expect(await refused.text()).toMatch(/AGE is long, the old one has int/);
    const nullable = await register({ ...ages(['null', 'int']), namespace: 'com.acme.risk' });
    const { id } = (await nullable.json()) as { id: number };
    const type = avroType({ ...contract.schema, ...ages(['null', 'int']) } as Parameters<typeof avroType>[0]);
    await produce('no age', serde.encode(id, type, { ...client, AGE: null }));
    await produce('nullable age', serde.encode(id, type, client));
    const query = `SELECT schema_id FROM millrace.predictions WHERE event_id = 'nullable age'`;
    expect(await eventually(async () => (await system.sql(query))[0])).toEqual({ schema_id: id });
    expect(await eventually(() => deadLetter('no age'))).toMatchObject({
      reason: 'UNDECODABLE',
      detail: expect.stringContaining('AGE is null, the contract has int') as string,
      schema_id: id,
    });
    // The contract itself may be extended after them.
    const more = [...contract.schema.fields, { name: 'note', type: ['null', 'string'], default: null }];
    expect((await register({ fields: more })).status).toBe(200);
  });
});

describe('records on the predictions topic', () => {
  it('that fit no row become dead letters, and the sink continues', async () => {
    const predictions = 'credit-default.predictions';
    await producer.send([{ topic: predictions, key: 'x', value: Buffer.from('garbage') }]);
    const rows = await eventually(async () => {
      const found = await system.sql<DeadLetter>(
        `SELECT reason, hex(value) AS value FROM millrace.dead_letters WHERE topic = '${predictions}'`,
      );
      return found.length > 0 ? found : undefined;
    });
    expect(rows).toEqual([
      { reason: 'UNDECODABLE', value: Buffer.from('garbage').toString('hex').toUpperCase() },
    ]);
    const prediction = (await (await system.post('/v1/pipelines/credit-default/predict', client)).json()) as {
      event_id: string;
    };
    const query = `SELECT 1 FROM millrace.predictions WHERE event_id = '${prediction.event_id}'`;
    await eventually(async () => (await system.sql(query))[0]);
  });
});
