/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import type { ConsumeMessage } from 'amqplib';
import { beforeEach, describe, expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { EventAcceptor } from '../../processors/events/accept-events.js';
import { FakeLog } from '../../processors/testing/fake-log.js';
import { openToyPipeline, type ToyPipeline } from '../../processors/testing/toy-pipeline.js';
import type { NewRecord } from '../../streams/records.js';
import type { FailedMessage, FailedMessages } from './failed-messages.js';
import type { Ledger } from './ledger.js';
import { MessageIngestion } from './message-ingestion.js';
import { digestOf } from './redelivery.js';

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

let toy: ToyPipeline;
let ingestion: MessageIngestion;
/** Log of the calls, in order. */
let steps: string[];
let records: NewRecord[];
let digests: string[];
let deadLettered: FailedMessage[];
/** Messages that the dead-letter queue rejects. */
let rejected: ConsumeMessage[];
let ledger: Ledger;

beforeEach(async () => {
  toy = await openToyPipeline();
  [steps, records, digests, deadLettered, rejected] = [[], [], [], [], []];
  ledger = {
    write: (given: readonly NewRecord[], of: readonly string[]) => {
      steps.push('log');
      records.push(...given);
      digests.push(...of);
      return Promise.resolve();
    },
  } as unknown as Ledger;
  const failed = {
    deadLetter: (given: readonly FailedMessage[]) => {
      steps.push('queue');
      deadLettered.push(...given);
      return Promise.resolve(rejected);
    },
  } as unknown as FailedMessages;
  const { pipeline, metrics } = toy;
  const acceptor = new EventAcceptor({ ...toy, producer: new FakeLog(), logger: silentLogger });
  ingestion = new MessageIngestion({
    queue: 'q',
    name: pipeline.name,
    pipeline: () => pipeline,
    acceptor,
    failed,
    metrics,
  });
});

const message = (body: unknown, properties: object = {}): ConsumeMessage =>
  ({
    content: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    fields: { exchange: '', routingKey: 'q', deliveryTag: 1, redelivered: false, consumerTag: 'c' },
    properties: { headers: {}, ...properties },
  }) as unknown as ConsumeMessage;

const publish = (...messages: ConsumeMessage[]): Promise<void> =>
  ingestion.publish(messages, ledger, Promise.resolve());

const received = async (): Promise<Record<string, number>> =>
  Object.fromEntries(
    (await toy.metrics.rabbitReceived.get()).values.map(({ labels, value }) => [
      String(labels.outcome),
      value,
    ]),
  );

describe('a message', () => {
  test('becomes the record of an event with the id, time and sender from its properties', async () => {
    const first = message(
      { a: 1, b: '2', more: true },
      { messageId: 'm', timestamp: 1_769_860_800, replyTo: 'replies', correlationId: 'c' },
    );
    const second = message({ a: 3, b: 4 });
    await publish(first, second);
    expect(records).toMatchObject([
      {
        topic: 'toy.events',
        key: 'key-1',
        headers: {
          ce_id: 'm',
          ce_source: 'millrace/rabbitmq',
          ce_time: '2026-01-31T12:00:00.000Z',
          'millrace-reply-to': 'replies',
          'millrace-correlation-id': 'c',
        },
      },
      { topic: 'toy.events', headers: { ce_id: expect.stringMatching(uuid) as string } },
    ]);
    const { schemaId, type } = toy.pipeline.event;
    expect(records[0]?.value).toEqual(toy.serde.encode(schemaId, type, { a: 1, b: 2 }));
    expect(digests).toEqual([first, second].map(digestOf));
    expect(await received()).toMatchObject({ event: 2, dead_letter: 0 });
    expect((await toy.metrics.eventsAccepted.get()).values).toMatchObject([
      { labels: { source: 'millrace/rabbitmq' }, value: 2 },
    ]);
  });

  test('is written after earlier messages, and not at all when their write fails', async () => {
    const lost = Promise.reject(new MillraceError('LOG_FENCED', 'Another process reads the queue.'));
    lost.catch(() => undefined);
    await expect(ingestion.publish([message({ a: 1, b: 2 })], ledger, lost)).rejects.toMatchObject({
      code: 'LOG_FENCED',
    });
    expect(steps).toEqual([]);
  });

  test('is written again when redelivered with its id; a different message with that id is a dead letter', async () => {
    const event = { a: 1, b: 2 };
    await publish(message(event, { messageId: 'm' }));
    await publish(message(event, { messageId: 'm' }));
    await publish(message({ a: 2, b: 2 }, { messageId: 'm' }));
    expect(records.map(({ topic }) => topic)).toEqual(['toy.events', 'toy.events', 'toy.dead-letters']);
    expect(deadLettered).toMatchObject([{ reason: { code: 'EVENT_ID_CONFLICT' } }]);
  });

  test('releases its id when its write fails', async () => {
    const broken = {
      write: () => Promise.reject(new MillraceError('LOG_REFUSED', 'No.')),
    } as unknown as Ledger;
    const first = message({ a: 1, b: 2 }, { messageId: 'm' });
    await expect(ingestion.publish([first], broken, Promise.resolve())).rejects.toMatchObject({
      code: 'LOG_REFUSED',
    });
    await publish(message({ a: 2, b: 2 }, { messageId: 'm' }));
    expect(records).toMatchObject([{ topic: 'toy.events' }]);
  });
});

describe('a message that is no event', () => {
  test('goes to the dead-letter queue, then to the dead-letter topic, beside the events of other messages', async () => {
    const bad = message('no JSON', { messageId: 'bad', replyTo: 'replies', correlationId: 'c' });
    const invalid = message({ a: 'x', b: 1 });
    await publish(bad, message({ a: 1, b: 2 }), invalid);
    expect(steps).toEqual(['queue', 'log']);
    expect(deadLettered.map((each) => [each.message, each.reason.code])).toEqual([
      [bad, 'JSON_INVALID'],
      [invalid, 'EVENT_INVALID'],
    ]);
    expect(records.map(({ topic }) => topic)).toEqual(['toy.events', 'toy.dead-letters', 'toy.dead-letters']);
    expect(records[1]).toMatchObject({
      key: 'bad',
      value: Buffer.from('no JSON'),
      headers: {
        'dead-letter-reason': 'JSON_INVALID',
        'dead-letter-topic': 'rabbitmq:q',
        'dead-letter-event-id': 'bad',
        'millrace-reply-to': Buffer.from('replies'),
        'millrace-correlation-id': Buffer.from('c'),
      },
    });
    expect(records[1]?.headers).not.toHaveProperty('dead-letter-offset');
    expect(digests).toHaveLength(3);
    expect(await received()).toMatchObject({ event: 1, dead_letter: 2 });
  });

  test('that the dead-letter queue rejects is retried, without a dead letter yet', async () => {
    const bad = message('no JSON');
    rejected = [bad];
    await publish(bad);
    expect(records).toEqual([]);
    expect(digests).toEqual([digestOf(bad)]);
    expect(await received()).toMatchObject({ dead_letter: 0, retried: 1 });
  });

  test('that is too large is cut to the limit of the dead-letter topic', async () => {
    await publish(message('x'.repeat(2_000_000), { messageId: 'large' }));
    expect(records[0]?.value).toHaveLength(500_000);
    expect(records[0]?.headers).toMatchObject({ 'dead-letter-truncated-from': '2000000' });
  });
});

test('a message that is given up goes to both places with its reason', async () => {
  const tooLarge = new MillraceError('RECORD_TOO_LARGE', 'Too large.');
  await ingestion.deadLetter([{ message: message({ a: 1, b: 2 }), reason: tooLarge }], ledger);
  expect(steps).toEqual(['queue', 'log']);
  expect(records).toMatchObject([{ headers: { 'dead-letter-reason': 'RECORD_TOO_LARGE' } }]);
});
