import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { projectRoot } from '../../platform/paths.js';
import { predictionId } from '../../processors/events/ids.js';
import { avroType, loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import type { LogProducer } from '../../streams/log-producer.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { testEngines } from './engines/chosen.js';
import { startSystem, type TestSystem } from './start.js';

const client = JSON.parse(
  readFileSync(join(projectRoot, 'examples', 'credit-default.json'), 'utf8'),
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

/** Puts a value on the events topic under an event id, as any Kafka client could. */
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
  it('are scored when another Kafka client wrote them, with where they came from', async () => {
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

  it('are scored as the same Avro is when they are JSON, with what their headers say', async () => {
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

  it('are known by the id and the time in their JSON, unless headers say others', async () => {
    const json = (more: object): Buffer => Buffer.from(JSON.stringify({ ...client, ...more }));
    const inside = { event_id: 'id inside', event_time: '2026-01-31 12:00:00' };
    const headers = { ce_id: 'id outside', ce_time: '2026-02-01T12:00:00Z' };
    await producer.send([
      { topic, key: null, value: json(inside) },
      { topic, key: null, value: json({ ...inside, event_id: 'not this' }), headers },
      {
        topic,
        key: null,
        value: json({ event_id: '', event_time: 'noon' }),
        headers: { ce_id: 'bad inside' },
      },
    ]);
    const time = (eventId: string) => async () =>
      (await system.sql(`SELECT event_time FROM millrace.predictions WHERE event_id = '${eventId}'`))[0];
    expect(await eventually(time('id inside'))).toEqual({ event_time: '2026-01-31 12:00:00.000' });
    expect(await eventually(time('id outside'))).toEqual({ event_time: '2026-02-01 12:00:00.000' });
    expect(await eventually(() => deadLetter('bad inside'))).toMatchObject({
      reason: 'EVENT_INVALID',
      detail: expect.stringMatching(/event_id must have .*; event_time must be /) as string,
    });
    expect(await time('not this')()).toBeUndefined();
  });

  it.each([
    ['cut off', '{"LIMIT_BAL": 1', 'JSON_INVALID', 'begins as JSON, and is none'],
    ['a list', JSON.stringify([client]), 'JSON_INVALID', 'no object'],
    ['out of range', JSON.stringify({ ...client, AGE: 7 }), 'EVENT_INVALID', 'AGE must be'],
    ['no whole number', JSON.stringify({ ...client, AGE: 34.5 }), 'EVENT_INVALID', 'AGE must be'],
    [
      'beyond numbers',
      JSON.stringify(client).replace('90000', '1e999'),
      'EVENT_INVALID',
      'LIMIT_BAL must be',
    ],
    [
      'of a prototype',
      JSON.stringify(client).replace('{', '{"__proto__":{"x":1},'),
      'EVENT_INVALID',
      '__proto__ is not a field',
    ],
  ])('that are JSON and %s become dead letters that say why', async (name, text, reason, words) => {
    await produce(`json ${name}`, Buffer.from(text));
    expect(await eventually(() => deadLetter(`json ${name}`))).toMatchObject({
      reason,
      detail: expect.stringContaining(words) as string,
      value: Buffer.from(text).toString('hex').toUpperCase(),
      schema_id: null,
    });
  });

  it('without an id get one that follows from their place', async () => {
    const id = await serde.register(topic, contract.type);
    const [position] = await producer.send([
      { topic, key: null, value: serde.encode(id, contract.type, client) },
    ]);
    const query = `SELECT event_id FROM millrace.predictions WHERE partition = ${position?.partition} AND offset = ${position?.offset}`;
    const [row] = await eventually(async () => {
      const rows = await system.sql<{ event_id: string }>(query);
      return rows.length === 1 ? rows : undefined;
    });
    expect(row?.event_id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5/);
  });

  it.each([
    ['garbage', Buffer.from('not avro at all'), 'UNDECODABLE'],
    ['no value', null, 'UNDECODABLE'],
    ['an empty value', Buffer.alloc(0), 'UNDECODABLE'],
    ['an unknown schema id', Buffer.from([0, 0, 15, 66, 63, 1, 2, 3]), 'SCHEMA_UNKNOWN'],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe, 0x00, 0x80, 0xc3]), 'UNDECODABLE'],
  ])('that are %s become dead letters with the original bytes', async (name, value, reason) => {
    await produce(`bad ${name}`, value);
    const letter = await eventually(() => deadLetter(`bad ${name}`));
    expect(letter).toMatchObject({ reason, topic });
    expect(letter.value ?? '').toBe((value?.toString('hex') ?? '').toUpperCase());
  });

  it('whose prediction the log refuses as too large become dead letters, and the stream goes on', async () => {
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

  it('that are cut off, out of range, or of an unrelated schema become dead letters, and the stream goes on', async () => {
    const id = await serde.register(topic, contract.type);
    const whole = serde.encode(id, contract.type, client);
    const other = avroType({ type: 'record', name: 'Other', fields: [{ name: 'x', type: 'string' }] });
    const otherId = await serde.register('another-topic', other);
    await produce('cut off', whole.subarray(0, whole.length - 3));
    await produce('out of range', serde.encode(id, contract.type, { ...client, AGE: 7 }));
    await produce('unrelated', serde.encode(otherId, other, { x: 'y' }));
    await produce('good after bad', whole);
    expect(await eventually(() => deadLetter('cut off'))).toMatchObject({
      reason: 'UNDECODABLE',
      schema_id: id,
    });
    expect(await eventually(() => deadLetter('out of range'))).toMatchObject({ reason: 'EVENT_INVALID' });
    expect(await eventually(() => deadLetter('unrelated'))).toMatchObject({
      reason: 'SCHEMA_INCOMPATIBLE',
      schema_id: otherId,
    });
    await eventually(
      async () =>
        (await system.sql(`SELECT 1 FROM millrace.predictions WHERE event_id = 'good after bad'`))[0],
    );
  });

  it('keep to the contract by the level of their subject, which lets in whose values can be read', async () => {
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
    // The contract itself may grow after them.
    const more = [...contract.schema.fields, { name: 'note', type: ['null', 'string'], default: null }];
    expect((await register({ fields: more })).status).toBe(200);
  });

  it('written with an older schema are read with the newer', async () => {
    const older = avroType({
      ...contract.schema,
      fields: contract.schema.fields.map((field) =>
        field.name === 'LIMIT_BAL' ? { ...field, type: 'int' } : field,
      ),
    } as Parameters<typeof avroType>[0]);
    const id = await serde.register('older-events', older);
    await produce('older', serde.encode(id, older, client));
    const score = async (eventId: string): Promise<unknown> =>
      (await system.sql(`SELECT score FROM millrace.predictions WHERE event_id = '${eventId}'`))[0];
    expect(await eventually(() => score('older'))).toEqual(await eventually(() => score('good after bad')));
  });

  describe('that carry a prediction', () => {
    const contractOfPrediction = loadContract('shared', 'prediction');
    let real: Prediction;

    /** A prediction as `predict` carries it, of this event id. */
    async function forge(eventId: string, changes: Partial<Prediction>): Promise<number> {
      const [id, predictionSchema] = await Promise.all([
        serde.register(topic, contract.type),
        serde.register('credit-default.predictions', contractOfPrediction.type),
      ]);
      const prediction: Prediction = {
        ...real,
        event_id: eventId,
        prediction_id: predictionId(eventId, real.model_digest),
        ...changes,
      };
      const carried = serde.encode(predictionSchema, contractOfPrediction.type, prediction);
      const headers = { ce_id: eventId, 'millrace-prediction': carried };
      await producer.send([{ topic, key: eventId, value: serde.encode(id, contract.type, client), headers }]);
      const row = await eventually(async () => {
        const query = `SELECT score FROM millrace.predictions WHERE event_id = '${eventId}'`;
        return (await system.sql<{ score: number }>(query))[0];
      });
      return row.score;
    }

    beforeAll(async () => {
      const answer = await (await system.post('/v1/pipelines/credit-default/predict', client)).json();
      const { model, model_version, model_digest, score, label } = answer as Prediction;
      real = {
        prediction_id: '',
        event_id: '',
        pipeline: 'credit-default',
        model,
        model_version,
        model_digest,
        score,
        label,

        event_time: Date.now(),
        predicted_at: Date.now(),
        features: JSON.stringify(client),
        source: 'test',
        topic,
        partition: -1,
        offset: -1,
        schema_id: 1,
        latency_ms: 1,
        role: 'champion',
        model_event: 1,
        model_event_at: Date.now(),
      };
    });

    it('get that one, if it is of this very event', async () => {
      expect(await forge('carried', { score: 0.125 })).toBe(0.125);
    });

    it.each<[string, Partial<Prediction>]>([
      ['another event', { event_id: 'somebody' }],
      ['other fields', { features: '{}' }],
      ['another pipeline', { pipeline: 'other' }],
      ['another id', { prediction_id: '00000000-0000-5000-8000-000000000000' }],
      ['no score', { score: Number.NaN }],
      ['an impossible time', { predicted_at: 9e15 }],
    ])('are scored anew if it is of %s', async (name, changes) => {
      expect(await forge(`forged ${name}`, { score: 0.125, ...changes })).toBe(real.score);
    });
  });

  it('with times, ids or marks that can’t be become rows or dead letters all the same', async () => {
    const id = await serde.register(topic, contract.type);
    const value = serde.encode(id, contract.type, client);
    // Apache Kafka itself refuses what is more than an hour ahead (`message.timestamp.after.max.ms`), others don't.
    const refusal = await producer
      .send([{ topic, key: 'late', value, headers: { ce_id: 'late' }, timestamp: 9e15 }])
      .then(
        () => undefined,
        (error: unknown) => error,
      );
    if (testEngines === 'apache-kafka') expect(refusal).toMatchObject({ code: 'LOG_REFUSED' });
    else expect(refusal).toBeUndefined();
    await producer.send([
      { topic, key: 'vague', value, headers: { ce_id: 'vague', ce_time: '1' } },
      { topic, key: 'long', value, headers: { ce_id: 'x'.repeat(5000) } },
      { topic, key: 'latin', value, headers: { ce_id: Buffer.from('caf\u00e9', 'latin1') } },
      {
        topic,
        key: 'marked',
        value: Buffer.from('bad'),
        headers: { ce_id: 'marked', 'dead-letter-schema-id': '99' },
      },
      { topic, key: 'last', value, headers: { ce_id: 'last' } },
    ]);
    const year = (eventId: string) => async () =>
      (
        await system.sql<{ year: number }>(
          `SELECT toYear(event_time) AS year FROM millrace.predictions WHERE event_id = '${eventId}'`,
        )
      )[0];
    const now = { year: new Date().getUTCFullYear() };
    if (refusal === undefined) expect(await eventually(year('late'))).toEqual(now);
    expect(await eventually(year('vague'))).toEqual(now);
    const metrics = await (await system.get('/metrics')).text();
    expect(metrics).toMatch(/millrace_event_times_unread_total\{pipeline="credit-default"[^}]*\} 1\n/);
    expect(await eventually(year('last'))).toEqual(now);
    expect(await eventually(() => deadLetter('marked'))).toMatchObject({ schema_id: null });
    const unfit = `SELECT detail FROM millrace.dead_letters WHERE reason = 'EVENT_INVALID' AND detail LIKE 'Its id%' ORDER BY detail`;
    await expect
      .poll(() => system.sql(unfit))
      .toEqual([
        { detail: 'Its id has 5000 bytes, more than 1024.' },
        { detail: 'Its id, the header ce_id, is not valid UTF-8.' },
      ]);
  });
});

describe('records on the outcomes topic', () => {
  it('are stored when they are JSON that fits the contract', async () => {
    const outcomes = 'credit-default.outcomes';
    const json = (fields: object): Buffer => Buffer.from(JSON.stringify(fields));
    const good = { event_id: 'from-json', outcome: 1, observed_at: '2026-01-31T12:00:00Z' };
    await producer.send([
      { topic: outcomes, key: 'x', value: json({ ...good, outcome: 'paid' }) },
      { topic: outcomes, key: 'from-json', value: json(good) },
    ]);
    const stored = `SELECT outcome, observed_at FROM millrace.outcomes WHERE event_id = 'from-json'`;
    await expect
      .poll(() => system.sql(stored))
      .toEqual([{ outcome: 1, observed_at: '2026-01-31 12:00:00.000' }]);
    const refused = `SELECT detail FROM millrace.dead_letters WHERE topic = '${outcomes}' AND reason = 'EVENT_INVALID'`;
    await expect.poll(() => system.sql(refused)).toEqual([{ detail: 'outcome must be a number' }]);
  });
});

describe('records on the predictions topic', () => {
  it('or on the others of results, with impossible times, do not stop the sink', async () => {
    const outcome = loadContract('shared', 'outcome');
    const outcomes = 'credit-default.outcomes';
    const id = await serde.register(outcomes, outcome.type);
    const value = serde.encode(id, outcome.type, { event_id: 'o', outcome: 1, observed_at: 9e15 });
    await producer.send([
      { topic: outcomes, key: 'o', value },
      {
        topic: 'credit-default.dead-letters',
        key: 'd',
        value,
        headers: { 'dead-letter-failed-at': '9007199254740991' },
      },
    ]);
    const query = `SELECT reason FROM millrace.dead_letters WHERE topic IN ('${outcomes}', 'credit-default.dead-letters') AND reason != 'EVENT_INVALID' ORDER BY reason`;
    await expect.poll(() => system.sql(query)).toEqual([{ reason: 'ROW_INVALID' }, { reason: 'UNKNOWN' }]);
  });

  it('that fit no row become dead letters, and the sink goes on', async () => {
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
