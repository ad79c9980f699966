import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GetMessage } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { describeRabbitMq, RabbitMq } from '../../tests/system/engines/rabbitmq-server.js';
import { runsAll } from '../../tests/system/size.js';
import { startSystem, type TestSystem } from '../../tests/system/start.js';
import { RabbitClient } from './testing/rabbit-client.js';

const body = JSON.parse(readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8')) as Record<
  string,
  unknown
>;
const bindings = [
  { queue: 'alicpp_records', exchange: 'by-key', type: 'direct', routing_key: 'credit' },
  { queue: 'alicpp_records', exchange: 'to-all', type: 'fanout' },
  { queue: 'alicpp_records', exchange: 'by-topic', type: 'topic', routing_key: 'card.#.new' },
  {
    queue: 'alicpp_records',
    exchange: 'by-headers',
    type: 'headers',
    headers: { 'x-match': 'all', kind: 'card' },
  },
  { queue: 'alicpp_records', exchange: '' },
];

describeRabbitMq('the RabbitMQ bridge', () => {
  let rabbit: RabbitMq;
  let client: RabbitClient;
  let system: TestSystem;

  beforeAll(async () => {
    rabbit = await RabbitMq.start();
    client = await RabbitClient.connect(rabbit.url);
    // Declared beforehand, as existing programs and operators would.
    await client.channel.assertQueue('alicpp_records', { durable: true });
    await client.channel.assertQueue('rides', { durable: true, arguments: { 'x-max-length': 1000 } });
    await client.channel.assertQueue('full', {
      durable: true,
      arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' },
    });
    system = await startSystem({
      RABBITMQ_URL: rabbit.url,
      RABBITMQ_QUEUES: 'alicpp_records=credit-default,rides=taxi-trip-duration',
      RABBITMQ_BINDINGS: JSON.stringify(bindings),
      RABBITMQ_RESULTS_QUEUES: 'results,sure=credit-default.*.no_default,full=car-price.#',
      RABBITMQ_RETRY_DELAY_MS: '20',
      RABBITMQ_RETRY_LIMIT: '3',
    });
    await whenUp('rabbitmq queue alicpp_records', 'rabbitmq queue rides', 'rabbitmq results');
  }, 120_000);

  afterAll(async () => {
    await client?.close();
    await system?.stop();
    await rabbit?.stop();
  });

  async function whenUp(...parts: string[]): Promise<void> {
    for (const part of parts)
      await vi.waitFor(async () => expect(await health(part)).toEqual({ status: 'up' }), { timeout: 20_000 });
  }

  async function health(part: string): Promise<unknown> {
    const report = (await (await system.get('/health/ready')).json()) as { parts: Record<string, unknown> };
    return report.parts[part];
  }

  async function rows(where: string): Promise<Record<string, unknown>[]> {
    return system.sql(
      `SELECT event_id, source, pipeline FROM millrace.predictions WHERE ${where} ORDER BY event_id`,
    );
  }

  it('ingests messages from every type of exchange bound to its queue', async () => {
    await client.send(body, { messageId: 'x1' });
    await client.send(body, { exchange: 'by-key', key: 'credit', messageId: 'x2' });
    await client.send(body, { exchange: 'to-all', key: 'whatever', messageId: 'x3' });
    await client.send(body, { exchange: 'by-topic', key: 'card.gold.new', messageId: 'x4' });
    await client.send(body, { exchange: 'by-headers', key: '', headers: { kind: 'card' }, messageId: 'x5' });
    await client.send(body, { exchange: 'by-headers', key: '', headers: { kind: 'loan' }, messageId: 'x6' });
    await client.send(body, { exchange: 'by-topic', key: 'card.gold.old', messageId: 'x7' });
    await expect
      .poll(async () => (await rows(`event_id LIKE 'x_'`)).map(({ event_id: id }) => id))
      .toEqual(['x1', 'x2', 'x3', 'x4', 'x5']);
  });

  it('publishes each prediction once, by pipeline, model and label, with its id', async () => {
    await client.send(
      { ...body, ID: 4, timestamp: 'x', LIMIT_BAL: '90000' },
      { messageId: 'tolerated', correlationId: 'c' },
    );
    // Results of the messages above may still come.
    const drained = { results: [] as GetMessage[], sure: [] as GetMessage[] };
    await expect
      .poll(async () => {
        for (const queue of ['results', 'sure'] as const)
          for (const message of await client.drain(queue))
            if (String(message.content).includes('"tolerated"')) drained[queue].push(message);
        return [drained.results.length, drained.sure.length];
      })
      .toEqual([1, 1]);
    const [[result], [sure]] = [drained.results, drained.sure];
    expect(result?.fields).toMatchObject({
      exchange: 'millrace.predictions',
      routingKey: 'credit-default.credit-default.no_default',
    });
    const prediction = JSON.parse(String(result?.content)) as Record<string, unknown>;
    expect(prediction).toMatchObject({
      event_id: 'tolerated',
      features: { LIMIT_BAL: 90_000 },
      outputs: { probability_of_default: prediction['score'] },
      role: 'champion',
    });
    expect(result?.properties).toMatchObject({
      messageId: prediction['prediction_id'],
      correlationId: 'c',
      deliveryMode: 2,
      contentType: 'application/json',
    });
    expect(sure?.content).toEqual(result?.content);
  });

  it('sends each reply, errors included, to the queue that the client names, with the client’s correlation id', async () => {
    const replies: [unknown, unknown, Record<string, unknown>][] = [];
    const note = (queue: string) =>
      client.channel.consume(
        queue,
        (message) => {
          const { correlationId, type } = message?.properties ?? {};
          replies.push([
            correlationId,
            type,
            JSON.parse(String(message?.content)) as Record<string, unknown>,
          ]);
        },
        { noAck: true },
      );
    const { queue: own } = await client.channel.assertQueue('', { exclusive: true });
    await note(own);
    await note('amq.rabbitmq.reply-to');
    await client.send(body, { messageId: 'r1', replyTo: own, correlationId: '1' });
    await client.send(body, { replyTo: 'amq.rabbitmq.reply-to', correlationId: '2' });
    await client.send({ ...body, AGE: 1 }, { messageId: 'r3', replyTo: own, correlationId: '3' });
    await client.send(body, { messageId: 'r4', replyTo: 'gone', correlationId: '4' });
    await client.send(body, { messageId: 'r5', replyTo: own, correlationId: '5' });
    await expect.poll(() => replies.length).toBe(4);
    const byId = new Map(replies.map(([id, type, answer]) => [id, { type, answer }]));
    expect(byId.get('1')).toMatchObject({ type: 'millrace.prediction', answer: { event_id: 'r1' } });
    expect(byId.get('2')).toMatchObject({ type: 'millrace.prediction' });
    expect(byId.get('3')).toMatchObject({
      type: 'millrace.problem',
      answer: { event_id: 'r3', code: 'EVENT_INVALID', status: 422 },
    });
    expect(byId.get('5')).toMatchObject({ answer: { event_id: 'r5' } });
    // Clients get their replies before the bridge gets its confirms.
    await expect
      .poll(async () => (await system.get('/metrics')).text())
      .toMatch(/published_total\{kind="reply",outcome="unroutable"\} 1\n/);
  });

  it('dead-letters bad messages with their original bytes and properties, and continues', async () => {
    await client.drain('millrace.dead-letters');
    await client.send('no JSON', {
      messageId: 'bad1',
      expiration: '60000',
      priority: 3,
      headers: { kind: 'card', CC: ['alicpp_records_copy'] },
    });
    await client.send({ ...body, LIMIT_BAL: 'much' }, { messageId: 'bad2' });
    await client.send('x'.repeat(2_000_000), { messageId: 'bad3' });
    await client.send(body, { messageId: 'bad2-but-good' });
    await expect.poll(() => rows(`event_id = 'bad2-but-good'`)).toHaveLength(1);
    const deadLetters = await client.drain('millrace.dead-letters');
    expect(deadLetters.map(({ properties }) => properties.headers?.['millrace-reason'] as unknown)).toEqual([
      'JSON_INVALID',
      'EVENT_INVALID',
      'JSON_INVALID',
    ]);
    const [first] = deadLetters;
    expect(first?.content.toString()).toBe('no JSON');
    expect(first?.properties).toMatchObject({
      messageId: 'bad1',
      priority: 3,
      expiration: undefined,
      headers: {
        kind: 'card',
        'millrace-cc': ['alicpp_records_copy'],
        'millrace-expiration': '60000',
        'millrace-queue': 'alicpp_records',
      },
    });
    const stored = (): Promise<unknown[]> =>
      system.sql(
        `SELECT event_id, reason, topic, length(value) > 400000 AS long FROM millrace.dead_letters WHERE event_id LIKE 'bad%' ORDER BY event_id`,
      );
    const topic = 'rabbitmq:alicpp_records';
    await expect.poll(stored).toEqual([
      { event_id: 'bad1', reason: 'JSON_INVALID', topic, long: 0 },
      { event_id: 'bad2', reason: 'EVENT_INVALID', topic, long: 0 },
      { event_id: 'bad3', reason: 'JSON_INVALID', topic, long: 1 },
    ]);
  });

  it('scores messages with headers of any type, and dead-letters those with too many', async () => {
    await client.drain('millrace.dead-letters');
    const text = (name: string, size: number): Buffer => {
      const start = Buffer.from(`${String.fromCharCode(name.length)}${name}S\0\0\0\0`);
      start.writeUInt32BE(size, start.length - 4);
      return Buffer.concat([start, Buffer.alloc(size, 'x')]);
    };
    const longest = Buffer.from('\x02atL\x7f\xff\xff\xff\xff\xff\xff\xff\x02noS\0\0\0\x02\x00\xff', 'latin1');
    const huge = Buffer.from('\x04huged\0\0\0\0\0\0\0\0');
    huge.writeDoubleBE(-1e300, 6);
    await client.sendTable(JSON.stringify({ ...body, event_id: 'typed' }), longest);
    await client.sendTable(
      'not JSON, large headers',
      Buffer.concat([text('long', 70_000), text('short', 3)]),
    );
    const many = Array.from({ length: 7_000 }, (_, index) => text(`h${index}`, 5));
    await client.sendTable('not JSON, many', Buffer.concat(many));
    await client.sendTable('not JSON, typed', Buffer.concat([longest, huge]));
    await client.send(body, { messageId: 'typed-after' });
    const ids = async (): Promise<unknown[]> =>
      (await rows(`event_id LIKE 'typed%'`)).map(({ event_id: id }) => id);
    await expect.poll(ids).toEqual(['typed', 'typed-after']);
    const deadLetters = await client.drain('millrace.dead-letters');
    const headers = deadLetters.map(({ properties }) => properties.headers);
    expect(deadLetters.map(({ content }) => String(content))).toEqual([
      'not JSON, large headers',
      'not JSON, many',
      'not JSON, typed',
    ]);
    expect(headers[0]).toMatchObject({ long: 'x'.repeat(200), short: 'xxx', 'millrace-headers-cut': 1 });
    expect(headers[2]).toMatchObject({ at: 2 ** 63, no: Buffer.from([0, 0xff]), huge: -1e300 });
  });

  it('retries messages that the dead-letter queue rejects, without blocking others', async () => {
    await client.drain('millrace.dead-letters');
    await client.send('the first', { messageId: 'first' });
    await expect
      .poll(async () => (await client.channel.checkQueue('millrace.dead-letters')).messageCount)
      .toBe(1);
    const policy = 'policies/%2F/full-letters';
    const definition = { 'max-length': 1, overflow: 'reject-publish' };
    await rabbit.manage(policy, {
      method: 'PUT',
      body: JSON.stringify({ pattern: '^millrace.dead-letters$', definition, 'apply-to': 'queues' }),
    });
    await client.send('rejected', { messageId: 'rejected' });
    await client.send(body, { messageId: 'passes' });
    await expect.poll(() => rows(`event_id = 'passes'`)).toHaveLength(1);
    await expect
      .poll(() => health('rabbitmq queue alicpp_records'))
      .toMatchObject({
        status: 'degraded',
        detail: expect.stringContaining('millrace.dead-letters rejects') as string,
      });
    await rabbit.manage(policy, { method: 'DELETE' });
    await expect
      .poll(async () => (await client.channel.checkQueue('millrace.dead-letters')).messageCount)
      .toBe(2);
    await whenUp('rabbitmq queue alicpp_records');
    const deadLetters = await client.drain('millrace.dead-letters');
    expect(deadLetters.map(({ content }) => String(content))).toEqual(['the first', 'rejected']);
  });

  it('keeps publishing to other queues when one rejects results, and reports which one', async () => {
    await client.drain('results');
    const car = JSON.parse(readFileSync(join(packageRoot, 'examples', 'car-price.json'), 'utf8')) as object;
    const predict = async (id: string): Promise<void> => {
      const answer = await system.post('/v1/pipelines/car-price/predict', { ...car, event_id: id });
      expect(answer.status).toBe(200);
    };
    for (const id of ['car-1', 'car-2', 'car-3']) await predict(id);
    await client.send(body, { messageId: 'after-cars' });
    const seen: string[] = [];
    await expect
      .poll(async () => {
        for (const { content } of await client.drain('results'))
          seen.push((JSON.parse(String(content)) as { event_id: string }).event_id);
        return [...new Set(seen)].toSorted();
      })
      .toEqual(['after-cars', 'car-1', 'car-2', 'car-3']);
    expect(seen.length).toBeLessThanOrEqual(7);
    const part = 'rabbitmq results queue full';
    const problem = expect.stringMatching(/the queue full rejects results/) as string;
    // The other queues get their messages before the bridge knows that this one has rejected some.
    await expect.poll(() => health(part)).toMatchObject({ status: 'degraded', detail: problem });
    expect(await health('rabbitmq results')).toEqual({ status: 'up' });
    // By now, every waiting result was retried or given up.
    await expect.poll(async () => (await client.drain('full')).length).toBeGreaterThan(0);
    await expect
      .poll(async () => {
        await client.drain('full');
        await predict(`car-${Math.random()}`);
        return health(part);
      })
      .toEqual({ status: 'up' });
  });

  it('reads an existing queue, whatever its arguments, for another pipeline', async () => {
    const ride = readFileSync(join(packageRoot, 'examples', 'taxi-trip-duration.json'), 'utf8');
    await client.send(ride, { key: 'rides', messageId: 'ride' });
    await expect
      .poll(() => rows(`event_id = 'ride'`))
      .toEqual([{ event_id: 'ride', source: 'millrace/rabbitmq', pipeline: 'taxi-trip-duration' }]);
  });

  describe('at the end', () => {
    it.runIf(runsAll)('continues after RabbitMQ was restarted or deleted its queue', async () => {
      await client.close();
      await rabbit.restart();
      client = await RabbitClient.connect(rabbit.url);
      await client.send(body, { messageId: 'after-restart' });
      await expect.poll(() => rows(`event_id = 'after-restart'`)).toHaveLength(1);
      await client.channel.deleteQueue('alicpp_records');
      await expect
        .poll(() => client.channel.assertQueue('alicpp_records', { durable: true }))
        .toMatchObject({ consumerCount: 1 });
      await client.send(body, { messageId: 'after-delete', exchange: 'to-all' });
      await expect.poll(() => rows(`event_id = 'after-delete'`)).toHaveLength(1);
    });

    it('is degraded, and nothing else, while RabbitMQ is unavailable', async () => {
      await client.close();
      await rabbit.kill();
      await expect.poll(() => health('rabbitmq')).toMatchObject({ status: 'degraded' });
      const answer = await system.post('/v1/pipelines/credit-default/predict', body);
      expect(answer.status).toBe(200);
      expect((await system.get('/health/ready')).status).toBe(200);
    });
  });
});
