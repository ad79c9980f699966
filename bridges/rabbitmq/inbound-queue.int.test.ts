import type { ConsumeMessage } from 'amqplib';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { systemTopics } from '../../streams/topics.js';
import { unique } from '../../tests/contract/client.js';
import { apiKeys } from '../../tests/contract/flaky-network.js';
import { StreamsFixture } from '../../tests/contract/streams-fixture.js';
import { describeRabbitMq, RabbitMq } from '../../tests/system/engines/rabbitmq-server.js';
import { runsAll } from '../../tests/system/size.js';
import { RabbitConnection } from './connection.js';
import { FailedMessages } from './failed-messages.js';
import { InboundQueue, type InboundQueueOptions } from './inbound-queue.js';
import { followLedgers } from './ledger.js';
import { OwnBindings } from './own-bindings.js';
import { Publisher } from './publisher.js';
import { digestOf } from './redelivery.js';
import { RabbitClient } from './testing/rabbit-client.js';
import { ensurePredictions, ensureResultsQueue, resultsBindingOf } from './topology.js';

type Publish = InboundQueueOptions['ingestion']['publish'];

describeRabbitMq('the reading of a queue', () => {
  let rabbit: RabbitMq;
  let client: RabbitClient;
  let log: StreamsFixture;
  const toStop: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    rabbit = await RabbitMq.start();
    client = await RabbitClient.connect(rabbit.url);
    log = await StreamsFixture.start();
    const { streams } = log.open();
    await streams.createTopics([
      { name: systemTopics.rabbitmq, partitions: 1, config: { 'cleanup.policy': 'compact' } },
    ]);
  }, 120_000);

  afterEach(async () => {
    for (const stop of toStop.splice(0).toReversed()) await stop();
  });

  afterAll(async () => {
    await client?.close();
    await log?.close();
    await rabbit?.stop();
  });

  /** Reads a queue into a topic. `around` may do what goes wrong. */
  async function start(
    { queue, topic, bindings = [] }: { queue: string; topic: string } & Partial<InboundQueueOptions>,
    around: (publish: Publish) => Publish = (publish) => publish,
  ) {
    const { streams, network } = log.open();
    const metrics = createMetrics();
    const connection = new RabbitConnection({ url: rabbit.url, name: unique('test'), logger: silentLogger });
    const states = await followLedgers(streams);
    const publish: Publish = async (messages, ledger, before) => {
      await before;
      await ledger.write(
        messages.map(({ content }) => ({ topic, key: null, value: content })),
        messages.map(digestOf),
      );
    };
    const publisher = new Publisher(connection, () => undefined);
    const failed = new FailedMessages(connection, publisher, queue, { firstDelayMs: 20 });
    const inbound = new InboundQueue({
      queue,
      bindings,
      connection,
      streams,
      states,
      ingestion: {
        publish: around(publish),
        deadLetter: (given, ledger) =>
          failed.deadLetter(given).then(() =>
            ledger.write(
              [],
              given.map(({ message }) => digestOf(message)),
            ),
          ),
      },
      failed,
      prefetch: 500,
      retryLimit: 2,
      metrics,
      logger: silentLogger,
    });
    toStop.push(async () => {
      await inbound.stop();
      await states.stop();
      await connection.close();
    });
    return { inbound, network };
  }

  async function names(): Promise<{ queue: string; topic: string }> {
    const { streams } = log.open();
    return { queue: unique('queue'), topic: await log.topic(streams) };
  }

  async function fill(queue: string, texts: string[], args: Record<string, unknown> = {}): Promise<void> {
    await client.channel.assertQueue(queue, { durable: true, arguments: args });
    for (const text of texts) client.channel.sendToQueue(queue, Buffer.from(text), { persistent: true });
    await client.channel.waitForConfirms();
  }

  async function expectOnLog(topic: string, texts: string[]): Promise<void> {
    const records = await log.readAll(topic, texts.length);
    expect(records.map(({ value }) => String(value)).toSorted()).toEqual(texts.toSorted());
  }

  function isPoison({ content }: ConsumeMessage): boolean {
    return content.toString() === 'poison';
  }

  it('tries a message that breaks something again, ever later, and sets it aside at last; others pass it by', async () => {
    const at = await names();
    const tries: number[] = [];
    const good = Array.from({ length: 100 }, (_, index) => `good ${index}`);
    await fill(at.queue, [...good.slice(0, 50), 'poison', ...good.slice(50)]);
    await start(at, (publish) => (messages, ledger, before) => {
      if (messages.length === 1 && messages.some(isPoison)) tries.push(performance.now());
      if (messages.some(isPoison)) throw new TypeError('a defect');
      return publish(messages, ledger, before);
    });
    await expectOnLog(at.topic, good);
    await expect
      .poll(() => client.channel.assertQueue('millrace.dead-letters', { durable: true }))
      .toMatchObject({ messageCount: 1 });
    const [dead] = await client.drain('millrace.dead-letters');
    expect(dead?.properties.headers).toMatchObject({
      'millrace-reason': 'INTERNAL',
      'millrace-queue': at.queue,
      'millrace-attempts': 2,
    });
    expect(tries).toHaveLength(3);
    const [first = 0, second = 0, third = 0] = tries;
    expect(second - first).toBeGreaterThan(19);
    expect(third - second).toBeGreaterThan(39);
  });

  it('waits while the log is away, and burns no retries', async () => {
    const at = await names();
    const texts = Array.from({ length: 300 }, (_, index) => `text ${index % 40}`);
    let written = 0;
    const { network, inbound } = await start(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      written += messages.length;
    });
    await fill(at.queue, texts.slice(0, 100));
    await expect.poll(() => written).toBe(100);
    network.cut();
    await fill(at.queue, texts.slice(100));
    await expect.poll(async () => (await client.channel.checkQueue(at.queue)).messageCount).toBe(0);
    network.restore();
    await expect.poll(() => written).toBe(300);
    await expectOnLog(at.topic, texts);
    expect(inbound.status()).toMatchObject({ ok: true });
    await expect.poll(async () => (await client.channel.checkQueue(at.queue)).messageCount).toBe(0);
  });

  it.each(['loseAnswer', 'loseRequest'] as const)(
    'writes once when the end of a transaction is in doubt: %s',
    async (fault) => {
      const at = await names();
      const { network } = await start(at);
      await fill(at.queue, ['first']);
      await expectOnLog(at.topic, ['first']);
      network[fault](apiKeys.endTxn);
      await fill(at.queue, ['first', 'second']);
      await expectOnLog(at.topic, ['first', 'first', 'second']);
      expect(network.pendingFaults).toBe(0);
    },
  );

  it('knows messages again that are on the log and were never acknowledged', async () => {
    const at = await names();
    const texts = Array.from({ length: 200 }, (_, index) => `text ${index % 30}`);
    await fill(at.queue, texts);
    let ends = 0;
    await start(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      // As if it were killed now: nothing is acknowledged.
      if (++ends <= 2) throw new MillraceError('LOG_REFUSED', 'the end');
    });
    await expectOnLog(at.topic, texts);
    await fill(at.queue, ['one more', 'text 0']);
    await expectOnLog(at.topic, [...texts, 'one more', 'text 0']);
    expect(ends).toBeGreaterThanOrEqual(2);
  });

  it('leaves a queue to whoever reads it, and takes over when that one has ended', async () => {
    const at = await names();
    await fill(at.queue, ['before']);
    const first = await start(at);
    await expectOnLog(at.topic, ['before']);
    const second = await start(at);
    await expect
      .poll(() => second.inbound.status())
      .toMatchObject({ ok: false, problem: expect.stringContaining('another copy of the bridge') as string });
    await first.inbound.stop();
    await expect.poll(() => second.inbound.status().ok).toBe(true);
    await fill(at.queue, ['after']);
    await expectOnLog(at.topic, ['before', 'after']);
  });

  const quorum = { 'x-queue-type': 'quorum' };

  it('knows messages of a quorum queue again, although RabbitMQ counts in them how often it delivers them', async () => {
    const at = await names();
    const texts = Array.from({ length: 50 }, (_, index) => `text ${index % 7}`);
    await fill(at.queue, texts, quorum);
    let ends = 0;
    await start(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      if (++ends <= 2) throw new MillraceError('LOG_REFUSED', 'the end');
    });
    await expectOnLog(at.topic, texts);
    await fill(at.queue, ['one more'], quorum);
    await expectOnLog(at.topic, [...texts, 'one more']);
  });

  it('leaves a quorum queue to whoever reads it, and says so when somebody joins', async () => {
    const at = await names();
    await fill(at.queue, [], quorum);
    const old = await client.channel.consume(at.queue, () => undefined, { noAck: true });
    const { inbound } = await start(at);
    const problem = (text: string): object => ({
      ok: false,
      problem: expect.stringContaining(text) as string,
    });
    await expect.poll(() => inbound.status()).toMatchObject(problem('reads the queue'));
    await client.channel.cancel(old.consumerTag);
    await expect.poll(() => inbound.status().ok).toBe(true);
    const joined = await client.channel.consume(at.queue, () => undefined, { noAck: true });
    await expect
      .poll(async () => {
        await fill(at.queue, ['any'], quorum);
        return inbound.status();
      })
      .toMatchObject(problem('gets some of its messages'));
    await client.channel.cancel(joined.consumerTag);
  });

  it.runIf(runsAll).each([{}, quorum])(
    'stands by at a queue with a single active consumer: %j',
    async (type) => {
      const at = await names();
      const args = { ...type, 'x-single-active-consumer': true };
      await fill(at.queue, ['before'], args);
      const first = await start(at);
      await expectOnLog(at.topic, ['before']);
      const second = await start(at);
      await expect.poll(() => second.inbound.status().problem).toMatch('another copy of the bridge');
      await fill(at.queue, ['to the first'], args);
      await expectOnLog(at.topic, ['before', 'to the first']);
      expect(first.inbound.status().ok).toBe(true);
      await first.inbound.stop();
      await fill(at.queue, ['to the second'], args);
      await expectOnLog(at.topic, ['before', 'to the first', 'to the second']);
      await expect.poll(() => second.inbound.status().ok).toBe(true);
    },
  );

  it('reads a stream from its beginning, and from where it was after each end', async () => {
    const at = await names();
    const args = { 'x-queue-type': 'stream' };
    await fill(at.queue, ['1', '2'], args);
    let ends = 0;
    const first = await start(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      if (++ends === 1) throw new MillraceError('LOG_REFUSED', 'the end');
    });
    await expectOnLog(at.topic, ['1', '2']);
    await fill(at.queue, ['3'], args);
    await expectOnLog(at.topic, ['1', '2', '3']);
    await first.inbound.stop();
    await fill(at.queue, ['4'], args);
    await start(at);
    await expectOnLog(at.topic, ['1', '2', '3', '4']);
  });

  it.runIf(runsAll)(
    'deals with all that has come before it stops, so that nothing counts as delivered in vain',
    async () => {
      const at = await names();
      const limited = { ...quorum, 'x-delivery-limit': 1 };
      const texts = Array.from({ length: 400 }, (_, index) => `text ${index}`);
      await fill(at.queue, texts, limited);
      for (let run = 0; run < 4; run++) {
        const { inbound } = await start(at);
        await expect.poll(() => inbound.status().ok).toBe(true);
        await inbound.stop();
      }
      await start(at);
      await expectOnLog(at.topic, texts);
    },
  );

  it('leads to bindings being removed that settings no longer name, and none that others made', async () => {
    const { streams } = log.open();
    const producer = await streams.createProducer();
    toStop.push(() => producer.close());
    const connection = new RabbitConnection({ url: rabbit.url, name: unique('test'), logger: silentLogger });
    toStop.push(() => connection.close());
    const [kept, dropped] = [unique('kept'), unique('dropped')];
    const bindAll = async (queues: { queue: string; pattern: string }[]): Promise<void> => {
      const wanted = queues.map(resultsBindingOf);
      const own = await OwnBindings.open({
        streams,
        producer,
        url: rabbit.url,
        wanted,
        logger: silentLogger,
      });
      await own.removeStale(connection);
      await ensurePredictions(connection);
      for (const { queue, pattern } of queues) await ensureResultsQueue(connection, queue, [pattern]);
    };
    const keysOf = async (queue: string): Promise<string[]> => {
      const all = await rabbit.manage<{ source: string; routing_key: string }[]>(
        `queues/%2F/${queue}/bindings`,
      );
      return all.filter(({ source }) => source !== '').map((each) => each.routing_key);
    };
    await bindAll([
      { queue: kept, pattern: '#' },
      { queue: dropped, pattern: '#' },
    ]);
    await client.channel.bindQueue(dropped, 'millrace.predictions', '#');
    await client.channel.bindQueue(kept, 'millrace.predictions', 'by.hand');
    await bindAll([{ queue: kept, pattern: 'credit-default.#' }]);
    expect((await keysOf(kept)).toSorted()).toEqual(['by.hand', 'credit-default.#']);
    expect(await keysOf(dropped)).toEqual(['#']);
    await client.channel.deleteQueue(kept);
    await bindAll([]);
  });

  it.each([
    ['is there, otherwise declared but of the type', 'topic', false, true],
    ['is there and of another type', 'fanout', true, false],
  ] as const)('takes an exchange that %s: %s', async (_, type, durable, expected) => {
    const at = await names();
    const exchange = unique('exchange');
    await client.channel.assertExchange(exchange, type, { durable });
    const binding = { queue: at.queue, exchange, type: 'topic' as const, durable: true, routing_key: '#' };
    const { inbound } = await start({ ...at, bindings: [binding] });
    await expect
      .poll(() => inbound.status())
      .toMatchObject(
        expected
          ? { ok: true }
          : { problem: expect.stringMatching(/delete it there.*RABBITMQ_BINDINGS/) as string },
      );
    await client.channel.deleteExchange(exchange);
  });

  it('says what it can’t use and which setting asked for it, and goes on when that is mended', async () => {
    const at = await names();
    const exchange = unique('exchange');
    await client.channel.assertExchange(exchange, 'direct', { durable: true });
    const binding = { queue: at.queue, exchange, type: 'topic' as const, durable: true, routing_key: '#' };
    const { inbound } = await start({ ...at, bindings: [binding] });
    await expect
      .poll(() => inbound.status().problem)
      .toMatch(new RegExp(`${exchange} .*PRECONDITION.*RABBITMQ_BINDINGS`));
    await client.channel.deleteExchange(exchange);
    await expect.poll(() => inbound.status().ok).toBe(true);
    await client.send('routed', { exchange, key: 'any.key' });
    await expectOnLog(at.topic, ['routed']);
  });
});
