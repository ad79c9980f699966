import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import type { StreamRecord } from '../../streams/records.js';
import { Outbound, type OutboundOptions } from './outbound.js';
import type { OutgoingMessage } from './publisher.js';

const good = {
  prediction_id: 'p',
  event_id: 'e',
  pipeline: 'credit-default',
  model: 'credit-default',
  label: 'default',
  features: '{}',
  event_time: 1_700_000_000_000,
  predicted_at: 1_700_000_000_000,
  model_event_at: null,
  outputs: '{"probability":0.5}',
  role: 'champion',
};

/** Returns what is published for records that say `prediction`, or are dead letters. */
async function publish(records: Partial<StreamRecord>[]): Promise<OutgoingMessage[]> {
  const sent: OutgoingMessage[] = [];
  const outbound = new Outbound({
    pipelines: { names: ['credit-default'] },
    prediction: { type: {} },
    resultsQueues: { ensure: () => Promise.resolve(), note: () => Promise.resolve() },
    connection: { status: () => ({ ok: true, since: 1 }) },
    publisher: {
      publish: (messages: OutgoingMessage[]) => {
        sent.push(...messages);
        return Promise.resolve({ returned: [], refused: [], invalid: [] });
      },
    },
    serde: { decode: (value: Buffer) => Promise.resolve(JSON.parse(String(value)) as unknown) },
    metrics: createMetrics(),
    logger: silentLogger,
  } as unknown as OutboundOptions);
  expect(outbound.topics).toEqual(['credit-default.predictions', 'credit-default.dead-letters']);
  await outbound.publish(
    records.map((record, offset) => ({
      topic: 'credit-default.predictions',
      partition: 0,
      offset,
      timestamp: 0,
      key: null,
      value: Buffer.from('{}'),
      headers: {},
      ...record,
    })) as StreamRecord[],
  );
  return sent;
}

const prediction = (fields: object, headers: Record<string, Buffer> = {}): Partial<StreamRecord> => ({
  value: Buffer.from(JSON.stringify({ ...good, ...fields })),
  headers,
});

describe('a message to RabbitMQ', () => {
  it('is skipped for a record that is no prediction, and for no other record', async () => {
    const messages = await publish([
      prediction({ prediction_id: 'first' }),
      prediction({ features: 'no JSON' }),
      { value: Buffer.from('nothing') },
      {
        topic: 'credit-default.dead-letters',
        value: null,
        headers: { 'dead-letter-offset': Buffer.from('x') },
      },
      prediction({ prediction_id: 'last' }),
    ]);
    expect(messages.map(({ options }) => options.messageId)).toEqual(['first', 'last']);
  });

  it.each([300, 255])('has a correlation id of %i bytes only if AMQP allows it', async (bytes) => {
    const headers = {
      'millrace-correlation-id': Buffer.alloc(bytes, 'c'),
      'millrace-reply-to': Buffer.from('here'),
    };
    const [result, reply] = await publish([prediction({}, headers)]);
    const expected = bytes > 255 ? undefined : 'c'.repeat(bytes);
    expect(result?.options.correlationId).toBe(expected);
    expect(reply).toMatchObject({ exchange: '', routingKey: 'here' });
  });

  it('gets no reply to an impossible queue name', async () => {
    const grows = Buffer.alloc(200, 0xff);
    expect(await publish([prediction({}, { 'millrace-reply-to': grows })])).toHaveLength(1);
  });

  it('has a routing key, an id and a time that AMQP allows', async () => {
    const long = '日本'.repeat(200);
    const [message] = await publish([
      prediction({ prediction_id: long, pipeline: long, model: long, label: long, predicted_at: -5_000 }),
    ]);
    expect(Buffer.byteLength(message?.routingKey ?? '')).toBeLessThanOrEqual(255);
    expect(message?.routingKey.split('.')).toHaveLength(3);
    expect(Buffer.byteLength(message?.options.messageId ?? '')).toBeLessThanOrEqual(255);
    expect(message?.options.timestamp).toBeUndefined();
  });

  it('is the prediction with its id, for every bound queue and for the client that asked', async () => {
    const headers = { 'millrace-correlation-id': Buffer.from('c'), 'millrace-reply-to': Buffer.from('here') };
    const [result, reply, ...others] = await publish([
      prediction({ score: 0.5, features: '{"a":1}' }, headers),
    ]);
    expect(others).toEqual([]);
    expect(result).toMatchObject({
      exchange: 'millrace.predictions',
      routingKey: 'credit-default.credit-default.default',
      options: { messageId: 'p', correlationId: 'c', type: 'millrace.prediction', timestamp: 1_700_000_000 },
    });
    expect(JSON.parse(String(result?.content))).toMatchObject({
      event_id: 'e',
      score: 0.5,
      features: { a: 1 },
      outputs: { probability: 0.5 },
      predicted_at: '2023-11-14T22:13:20.000Z',
    });
    expect(reply).toMatchObject({ exchange: '', routingKey: 'here', content: result?.content });
    expect(reply?.options).toMatchObject({ correlationId: 'c', mandatory: true });
  });

  it('has the outputs of the model, and none for a prediction of an earlier release', async () => {
    const outputs = { species: { setosa: 0.75, other: 0.25 }, embedding: [1, 2] };
    const texts = [JSON.stringify(outputs), null, 'no JSON'];
    const messages = await publish(texts.map((text) => prediction({ outputs: text })));
    const bodies = messages.map(({ content }) => JSON.parse(String(content)) as { outputs: unknown });
    expect(bodies.map((body) => body.outputs)).toEqual([outputs, {}, {}]);
  });

  it('has no result of a shadow, and no word of a routing key that is a wildcard', async () => {
    expect(await publish([prediction({ role: 'shadow' })])).toEqual([]);
    const [message] = await publish([prediction({ label: 'a.b#c*d e' })]);
    expect(message?.routingKey).toBe('credit-default.credit-default.a_b_c_d_e');
  });

  it('replies with problem details to an event that can’t be scored, and never twice to a scored one', async () => {
    const dead = (topic: string): Partial<StreamRecord> => ({
      topic: 'credit-default.dead-letters',
      value: null,
      headers: {
        'dead-letter-reason': Buffer.from('EVENT_INVALID'),
        'dead-letter-detail': Buffer.from('AGE must be at least 18'),
        'dead-letter-topic': Buffer.from(topic),
        'dead-letter-event-id': Buffer.from('e'),
        'millrace-reply-to': Buffer.from('here'),
        'millrace-correlation-id': Buffer.from('c'),
      },
    });
    const [reply, second, ...others] = await publish(
      ['credit-default.events', 'rabbitmq:q', 'credit-default.predictions'].map(dead),
    );
    expect(others).toEqual([]);
    expect(second?.routingKey).toBe('here');
    expect(reply).toMatchObject({
      exchange: '',
      routingKey: 'here',
      options: { correlationId: 'c', type: 'millrace.problem' },
    });
    expect(JSON.parse(String(reply?.content))).toMatchObject({
      event_id: 'e',
      status: 422,
      code: 'EVENT_INVALID',
      detail: 'AGE must be at least 18',
    });
  });

  it('has no reply to a dead letter’s resolution', async () => {
    const headers = {
      'dead-letter-resolution': Buffer.from('redriven'),
      'millrace-reply-to': Buffer.from('here'),
    };
    expect(await publish([{ topic: 'credit-default.dead-letters', value: null, headers }])).toEqual([]);
  });
});
