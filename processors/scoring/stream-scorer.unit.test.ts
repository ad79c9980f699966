import type { Type } from 'avsc';
import { beforeEach, describe, expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { avroType, loadContractVersions } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import { silentLogger } from '../../platform/logger.js';
import { EventAcceptor } from '../events/accept-events.js';
import { positionEventId, predictionId } from '../events/ids.js';
import { FakeLog, toStreamRecord } from '../testing/fake-log.js';
import { openToyPipeline, ToyModel, type ToyPipeline } from '../testing/toy-pipeline.js';
import { unreadableHeader, type NewRecord, type StreamRecord } from '../../streams/records.js';
import { StreamScorer } from './stream-scorer.js';

const now = Date.UTC(2026, 1, 1);
let toy: ToyPipeline;
let scorer: StreamScorer;

async function open(options?: Parameters<typeof openToyPipeline>[0]): Promise<void> {
  toy = await openToyPipeline(options);
  scorer = new StreamScorer({ ...toy, now: () => now });
}
beforeEach(() => open());

const avro = (fields: object): Buffer =>
  toy.serde.encode(toy.pipeline.event.schemaId, toy.pipeline.event.type, fields);

let offset = 0;
function event(value: Buffer | null, headers: NewRecord['headers'] = { ce_id: 'e' }): StreamRecord {
  return toStreamRecord({ topic: 'toy.events', key: 'k', value, headers }, offset++);
}

function decode({ value }: NewRecord): Prediction {
  return toy.serde.decode(value, toy.pipeline.prediction.type) as Prediction;
}

/** A dead letter's headers without their prefix, as text. */
function marksOf({ headers = {} }: NewRecord): Record<string, string> {
  const marks = Object.entries(headers).filter(([name]) => name.startsWith('dead-letter-'));
  return Object.fromEntries(
    marks.map(([name, value]) => [name.slice('dead-letter-'.length), value.toString()]),
  );
}

async function processOne(record: StreamRecord): Promise<NewRecord> {
  const [output, ...others] = await scorer.process([record]);
  expect(others).toEqual([]);
  if (output === undefined) throw new Error('There is no output.');
  return output;
}

describe('events', () => {
  test('of a producer become predictions with the lineage of their records', async () => {
    const record = event(avro({ a: 7, b: 5 }), {
      ce_id: 'e',
      ce_time: '2026-01-31T10:00:00Z',
      ce_source: '/branch',
      'millrace-reply-to': 'q',
    });
    const output = await processOne(record);
    expect(output).toMatchObject({ topic: 'toy.predictions', key: Buffer.from('k') });
    expect(output.headers).toMatchObject({ 'millrace-reply-to': Buffer.from('q') });
    expect(decode(output)).toMatchObject({
      event_id: 'e',
      prediction_id: predictionId('e', toy.model.manifest.digest),
      score: 12,
      label: 'high',
      outputs: '{"sum":12}',
      features: '{"a":7,"b":5}',
      event_time: Date.UTC(2026, 0, 31, 10),
      predicted_at: now,
      source: '/branch',
      topic: record.topic,
      partition: record.partition,
      offset: record.offset,
      schema_id: toy.pipeline.event.schemaId,
      latency_ms: now - record.timestamp,
      role: 'champion',
    });
  });

  test('in JSON are the same as in Avro, with the id and time in their JSON unless headers override them', async () => {
    const json = Buffer.from(
      '\ufeff{"event_id": "inside", "event_time": "2026-01-31 12:00:00", "a": 1, "b": 2}\n',
    );
    expect(decode(await processOne(event(json, {})))).toMatchObject({
      event_id: 'inside',
      event_time: Date.UTC(2026, 0, 31, 12),
      score: 3,
      schema_id: toy.pipeline.event.schemaId,
    });
    const headers = { ce_id: 'outside', ce_time: '2026-02-01T12:00:00Z' };
    expect(decode(await processOne(event(json, headers)))).toMatchObject({
      event_id: 'outside',
      event_time: Date.UTC(2026, 1, 1, 12),
    });
  });

  test('without an id get one derived from their position on the log', async () => {
    const record = event(avro({ a: 1, b: 2 }), {});
    expect(decode(await processOne(record)).event_id).toBe(positionEventId(record));
  });

  test('with an invalid time have the time of their record, and are counted', async () => {
    for (const time of ['1', '9999-01-01T00:00:00Z']) {
      const record = event(avro({ a: 1, b: 2 }), { ce_id: 'e', ce_time: time });
      expect(decode(await processOne(record)).event_time).toBe(record.timestamp);
    }
    expect((await toy.metrics.unreadEventTimes.get()).values[0]?.value).toBe(2);
    const late = { ...event(avro({ a: 1, b: 2 })), timestamp: 9e15 };
    expect(decode(await processOne(late)).event_time).toBe(now);
  });

  test('in a batch are answered in their order, and a bad one does not affect the others', async () => {
    const outputs = await scorer.process([
      event(avro({ a: 1, b: 1 }), { ce_id: 'first' }),
      event(Buffer.from('garbage'), { ce_id: 'bad' }),
      event(avro({ a: -5, b: 1 }), { ce_id: 'negative' }),
      event(avro({ a: 2, b: 2 }), { ce_id: 'last' }),
    ]);
    expect(outputs.map(({ topic }) => topic)).toEqual([
      'toy.predictions',
      'toy.dead-letters',
      'toy.dead-letters',
      'toy.predictions',
    ]);
    expect(outputs.slice(1, 3).map((output) => marksOf(output).reason)).toEqual([
      'UNDECODABLE',
      'MODEL_FAILED',
    ]);
  });

  test('written with an older schema are read with the newer one', async () => {
    const fields = [
      { name: 'a', type: 'int' },
      { name: 'b', type: 'int' },
    ] as const;
    const older = avroType({ type: 'record', name: 'Toy', namespace: 'test', fields: [...fields] });
    const id = await toy.serde.register('older', older);
    const record = event(toy.serde.encode(id, older, { a: 3, b: 4 }));
    expect(decode(await processOne(record))).toMatchObject({ score: 7, schema_id: id });
  });

  test('wait for an unavailable model: the call rejects, and nothing is a dead letter', async () => {
    toy.model.gate = Promise.reject(new MillraceError('MODEL_WORKER_DIED', 'It died.', { retriable: true }));
    toy.model.gate.catch(() => undefined);
    await expect(scorer.process([event(avro({ a: 1, b: 2 }))])).rejects.toMatchObject({ retriable: true });
  });

  test('have the prediction of a challenger in shadow beside their own', async () => {
    await open({ challenger: { ...new ToyModel('2').alias(2), shadow: true, canaryShare: 0 } });
    const outputs = await scorer.process([event(avro({ a: 1, b: 2 }))]);
    expect(outputs.map((output) => decode(output).role)).toEqual(['champion', 'shadow']);
    expect(outputs.map((output) => decode(output).outputs)).toEqual(['{"sum":3}', '{"sum":3}']);
    expect(new Set(outputs.map((output) => decode(output).prediction_id)).size).toBe(2);
  });

  test('are answered without the prediction of a shadow that is too large for the log', async () => {
    const large = new ToyModel('2');
    // Little more than brokers take by default.
    const vector = Array.from({ length: 120_000 }, () => 0.123456);
    large.predict = (rows) =>
      Promise.resolve(rows.map(() => ({ score: 1, label: null, outputs: { vector } })));
    await open({ challenger: { ...large.alias(2), shadow: true, canaryShare: 0 } });
    const output = await processOne(event(avro({ a: 1, b: 2 })));
    expect(decode(output)).toMatchObject({ role: 'champion', score: 3 });
    expect((await toy.metrics.challengerFailures.get()).values).toMatchObject([
      { labels: { model: 'toy', model_version: '2', role: 'shadow' }, value: 1 },
    ]);
    const counted = (await toy.metrics.predictions.get()).values.map(({ labels }) => labels.role);
    expect(counted).toEqual(['champion']);
  });
});

describe('dead letters', () => {
  test.each<[string, Buffer | null, string, RegExp]>([
    ['garbage', Buffer.from('not Avro'), 'UNDECODABLE', /./],
    ['no value (a tombstone)', null, 'UNDECODABLE', /./],
    ['an empty value', Buffer.alloc(0), 'UNDECODABLE', /./],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe, 0, 0x80]), 'UNDECODABLE', /./],
    ['an unknown schema id', Buffer.from([0, 0, 15, 66, 63, 1, 2]), 'SCHEMA_UNKNOWN', /999999/],
    ['JSON that is cut off', Buffer.from('{"a": 1'), 'JSON_INVALID', /begins as JSON/],
    ['a JSON list', Buffer.from('[{"a": 1}]'), 'JSON_INVALID', /no object/],
    ['JSON beyond numbers', Buffer.from('{"a": 1e999, "b": 1}'), 'EVENT_INVALID', /a must be/],
    [
      'JSON of a prototype',
      Buffer.from('{"__proto__": 1, "a": 1, "b": 1}'),
      'EVENT_INVALID',
      /__proto__ is not/,
    ],
    [
      'JSON with a bad envelope',
      Buffer.from('{"event_time": "noon", "a": 1, "b": 1}'),
      'EVENT_INVALID',
      /event_time/,
    ],
  ])('keep %s unchanged, with the reason', async (_, value, reason, detail) => {
    const record = event(value, { ce_id: 'e', other: 'kept' });
    const output = await processOne(record);
    expect(output).toMatchObject({ topic: 'toy.dead-letters', key: Buffer.from('k'), value });
    expect(output.headers).toMatchObject({ ce_id: Buffer.from('e'), other: Buffer.from('kept') });
    const marks = marksOf(output);
    expect(marks).toMatchObject({
      pipeline: 'toy',
      reason,
      'event-id': 'e',
      topic: 'toy.events',
      partition: '0',
      offset: String(record.offset),
      'failed-at': String(now),
    });
    expect(marks['detail']).toMatch(detail);
    expect((await toy.metrics.deadLetters.get()).values).toMatchObject([{ labels: { reason }, value: 1 }]);
  });

  test('are made of events that are cut off, or of an unrelated schema, with its id', async () => {
    const whole = avro({ a: 1, b: 2 });
    expect(marksOf(await processOne(event(whole.subarray(0, -3))))).toMatchObject({
      reason: 'UNDECODABLE',
      'schema-id': String(toy.pipeline.event.schemaId),
    });
    const other = avroType({ type: 'record', name: 'Other', fields: [{ name: 'x', type: 'string' }] });
    const id = await toy.serde.register('other', other);
    expect(marksOf(await processOne(event(toy.serde.encode(id, other, { x: 'y' }))))).toMatchObject({
      reason: 'SCHEMA_INCOMPATIBLE',
      'schema-id': String(id),
    });
  });

  test('are made of invalid ids, under the id of their position', async () => {
    for (const [id, detail] of [
      ['x'.repeat(5_000), 'Its id has 5000 bytes, more than 1024.'],
      [Buffer.from('caf\u00e9', 'latin1'), 'Its id, the header ce_id, is not valid UTF-8.'],
    ] as const) {
      const record = event(avro({ a: 1, b: 2 }), { ce_id: id });
      expect(marksOf(await processOne(record))).toMatchObject({
        reason: 'EVENT_INVALID',
        detail,
        'event-id': positionEventId(record),
      });
    }
  });

  test('replace an unreadable batch', async () => {
    const output = await processOne(event(null, { [unreadableHeader]: 'zstd: corrupt' }));
    expect(marksOf(output)).toMatchObject({ reason: 'UNDECODABLE', detail: 'zstd: corrupt' });
  });

  test('drop dead-letter headers of the event', async () => {
    const output = await processOne(
      event(Buffer.from('bad'), {
        ce_id: 'e',
        'dead-letter-schema-id': '99',
        'dead-letter-resolution': 'discarded',
      }),
    );
    const marks = marksOf(output);
    expect(marks).not.toHaveProperty('schema-id');
    expect(marks).not.toHaveProperty('resolution');
  });

  test('are made of events whose prediction the log refuses', () => {
    const record = event(avro({ a: 1, b: 2 }));
    const output = scorer.refused(record, new MillraceError('RECORD_TOO_LARGE', 'Too large.'));
    expect(output.value).toBe(record.value);
    expect(marksOf(output)).toMatchObject({ reason: 'RECORD_TOO_LARGE', 'event-id': 'e' });
  });
});

describe('a prediction in an event’s record', () => {
  /** The record that `predict` writes to the log, and the score that it answered. */
  async function predicted(
    fields: object,
  ): Promise<{ record: StreamRecord; score: number; features: string }> {
    const log = new FakeLog();
    const acceptor = new EventAcceptor({ ...toy, producer: log, logger: silentLogger, now: () => now });
    const context = { source: 'test', timeoutMs: 1_000 };
    const [row] = await acceptor.predict(toy.pipeline, [{ ...fields, event_id: 'e' }], context);
    const [record] = log.read('toy.events');
    if (row === undefined || row instanceof MillraceError || record === undefined)
      throw new Error('no prediction');
    return { record, score: row.score, features: row.features };
  }

  test.each(['double', 'float'])('is the one that the caller got, for numbers of type %s', async (type) => {
    await open({ type });
    const { record, score, features } = await predicted({ a: 0.1, b: 0.2 });
    const { rows } = toy.model;
    const prediction = decode(await processOne(record));
    expect(prediction).toMatchObject({ score, features, offset: record.offset, partition: 0 });
    expect(toy.model.rows).toBe(rows);
  });

  test.each<[string, Partial<Prediction>]>([
    ['another event id', { event_id: 'other' }],
    ['another pipeline', { pipeline: 'other' }],
    ['an id that does not follow from its model', { prediction_id: 'other' }],
    ['other fields', { features: '{"a":9,"b":2}' }],
    ['no fields', { features: 'no JSON' }],
    ['a time that can’t be stored', { event_time: 9e15 }],
    ['a score that is no number', { score: Number.NaN }],
    ['an endless latency', { latency_ms: Number.POSITIVE_INFINITY }],
    ['the role of a shadow', { role: 'shadow' }],
    ['outputs that are no JSON object', { outputs: '[1]' }],
  ])('is ignored with %s: the event is scored', async (_, changes) => {
    const { record } = await predicted({ a: 1, b: 2 });
    const { schemaId, type } = toy.pipeline.prediction;
    const carried = decode({ topic: '', key: null, value: record.headers['millrace-prediction'] ?? null });
    const forged = { ...carried, score: 99, ...changes };
    record.headers['millrace-prediction'] = toy.serde.encode(schemaId, type, forged);
    expect(decode(await processOne(record))).toMatchObject({ event_id: 'e', score: 3, role: 'champion' });
  });

  test('is ignored when it can’t be decoded', async () => {
    const { record } = await predicted({ a: 1, b: 2 });
    record.headers['millrace-prediction'] = Buffer.from('garbage');
    expect(decode(await processOne(record)).score).toBe(3);
  });

  test('of an earlier release, which has no outputs, is used too', async () => {
    const { record } = await predicted({ a: 1, b: 2 });
    const carried = decode({ topic: '', key: null, value: record.headers['millrace-prediction'] ?? null });
    const older = loadContractVersions('shared', 'prediction')[1]?.type as Type;
    const id = await toy.serde.register('toy.predictions', older);
    record.headers['millrace-prediction'] = toy.serde.encode(id, older, { ...carried, score: 0.125 });
    expect(decode(await processOne(record))).toMatchObject({ score: 0.125, outputs: null });
  });

  test('is used unchanged if it is of this very event', async () => {
    const { record } = await predicted({ a: 1, b: 2 });
    const { schemaId, type } = toy.pipeline.prediction;
    const carried = decode({ topic: '', key: null, value: record.headers['millrace-prediction'] ?? null });
    record.headers['millrace-prediction'] = toy.serde.encode(schemaId, type, { ...carried, score: 0.125 });
    expect(decode(await processOne(record)).score).toBe(0.125);
  });

  test('is written as it came, with the position of its event', async () => {
    const { record } = await predicted({ a: 1, b: 2 });
    const { schemaId, type } = toy.pipeline.prediction;
    const carried = decode({ topic: '', key: null, value: record.headers['millrace-prediction'] ?? null });
    const place = { topic: 'elsewhere', partition: 7, offset: 1_000_000 };
    const moved = { ...record, ...place };
    const output = await processOne(moved);
    expect(output.value).toEqual(toy.serde.encode(schemaId, type, { ...carried, ...place }));
    expect(record.headers['millrace-prediction']).toEqual(toy.serde.encode(schemaId, type, carried));
  });

  test('is ignored on another event: header and id are copied, or the event is changed', async () => {
    const { record } = await predicted({ a: 1, b: 2 });
    const changed = { ...record, value: avro({ a: 5, b: 2 }) };
    expect(decode(await processOne(changed))).toMatchObject({ event_id: 'e', score: 7 });
    const renamed = { ...record, headers: { ...record.headers, ce_id: Buffer.from('f') } };
    expect(decode(await processOne(renamed))).toMatchObject({
      event_id: 'f',
      prediction_id: predictionId('f', toy.model.manifest.digest),
      score: 3,
    });
    const inJson = { ...record, value: Buffer.from('{"a": 5, "b": 2}') };
    expect(decode(await processOne(inJson))).toMatchObject({ event_id: 'e', score: 7 });
  });

  test('is ignored when bytes are missing or follow it', async () => {
    const { record } = await predicted({ a: 1, b: 2 });
    const carried = record.headers['millrace-prediction'] ?? Buffer.alloc(0);
    const { rows } = toy.model;
    for (const bytes of [carried.subarray(0, -1), Buffer.concat([carried, Buffer.alloc(1)])]) {
      record.headers['millrace-prediction'] = bytes;
      expect(decode(await processOne(record)).score).toBe(3);
    }
    expect(toy.model.rows).toBe(rows + 2);
  });

  test('with text that is no UTF-8 is written with valid text', async () => {
    const { record } = await predicted({ a: 1, b: 2 });
    const { schemaId, type } = toy.pipeline.prediction;
    const carried = decode({ topic: '', key: null, value: record.headers['millrace-prediction'] ?? null });
    const bytes = Buffer.from(toy.serde.encode(schemaId, type, { ...carried, source: 'XYZ' }));
    bytes[bytes.indexOf('XYZ')] = 0xff;
    record.headers['millrace-prediction'] = bytes;
    const output = await processOne(record);
    expect(decode(output).source).toBe('\uFFFDYZ');
    expect(output.value?.includes('\uFFFDYZ')).toBe(true);
  });
});
