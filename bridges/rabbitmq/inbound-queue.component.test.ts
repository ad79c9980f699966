import type { ConsumeMessage } from 'amqplib';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { unique } from '../../tests/contract/client.js';
import { apiKeys } from '../../tests/contract/flaky-network.js';
import { describeRabbitMq } from '../../tests/system/engines/rabbitmq-server.js';
import { runsAll } from '../../tests/system/size.js';
import { OwnBindings } from './own-bindings.js';
import { InboundFixture } from './testing/inbound-fixture.js';
import { ensurePredictions, ensureResultsQueue, resultsBindingOf } from './topology.js';

describeRabbitMq('the reading of a queue', () => {
  let fixture: InboundFixture;
  beforeAll(async () => {
    fixture = await InboundFixture.start();
  }, 120_000);
  afterEach(() => fixture.stopQueues());
  afterAll(() => fixture?.close());

  async function expectOnLog(topic: string, texts: string[]): Promise<void> {
    expect(await fixture.textsOnLog(topic, texts.length)).toEqual(texts.toSorted());
  }

  function isPoison({ content }: ConsumeMessage): boolean {
    return content.toString() === 'poison';
  }

  it('retries a failing message with growing delays, then dead-letters it; other messages are not blocked', async () => {
    const at = await fixture.names();
    const tries: number[] = [];
    const good = Array.from({ length: 100 }, (_, index) => `good ${index}`);
    await fixture.fill(at.queue, [...good.slice(0, 50), 'poison', ...good.slice(50)]);
    await fixture.read(at, (publish) => (messages, ledger, before) => {
      if (messages.length === 1 && messages.some(isPoison)) tries.push(performance.now());
      if (messages.some(isPoison)) throw new TypeError('a defect');
      return publish(messages, ledger, before);
    });
    await expectOnLog(at.topic, good);
    await expect
      .poll(() => fixture.client.channel.assertQueue('millrace.dead-letters', { durable: true }))
      .toMatchObject({ messageCount: 1 });
    const [dead] = await fixture.client.drain('millrace.dead-letters');
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

  it('waits while the log is unavailable, and uses no retries', async () => {
    const at = await fixture.names();
    const texts = Array.from({ length: 300 }, (_, index) => `text ${index % 40}`);
    let written = 0;
    const { network, inbound } = await fixture.read(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      written += messages.length;
    });
    await fixture.fill(at.queue, texts.slice(0, 100));
    await expect.poll(() => written).toBe(100);
    network.cut();
    await fixture.fill(at.queue, texts.slice(100));
    await expect.poll(async () => (await fixture.client.channel.checkQueue(at.queue)).messageCount).toBe(0);
    network.restore();
    await expect.poll(() => written).toBe(300);
    await expectOnLog(at.topic, texts);
    expect(inbound.status()).toMatchObject({ ok: true });
    await expect.poll(async () => (await fixture.client.channel.checkQueue(at.queue)).messageCount).toBe(0);
  });

  it('leaves messages in the queue while their pipeline is down, and uses no retries', async () => {
    const at = await fixture.names();
    const down = new MillraceError('PIPELINE_DOWN', 'The pipeline p is down.');
    let isDown = true;
    const requireOpen = (): void => {
      if (isDown) throw down;
    };
    const { inbound } = await fixture.read({ ...at, requireOpen }, (publish) => (...args) => {
      requireOpen();
      return publish(...args);
    });
    const waiting = async () => (await fixture.client.channel.checkQueue(at.queue)).messageCount;
    await fixture.fill(at.queue, ['first', 'second']);
    await expect.poll(() => inbound.status()).toMatchObject({ ok: false, problem: 'The pipeline p is down' });
    expect(await waiting()).toBe(2);
    isDown = false;
    await expectOnLog(at.topic, ['first', 'second']);
    await expect.poll(() => inbound.status()).toMatchObject({ ok: true });
    isDown = true;
    await fixture.fill(at.queue, ['third']);
    await expect.poll(() => inbound.status()).toMatchObject({ ok: false });
    await expect.poll(waiting).toBe(1);
    isDown = false;
    await expectOnLog(at.topic, ['first', 'second', 'third']);
    expect(await fixture.client.drain('millrace.dead-letters')).toEqual([]);
  });

  it.each(['loseAnswer', 'loseRequest'] as const)(
    'writes once when the end of a transaction is in doubt: %s',
    async (fault) => {
      const at = await fixture.names();
      const { network } = await fixture.read(at);
      await fixture.fill(at.queue, ['first']);
      await expectOnLog(at.topic, ['first']);
      network[fault](apiKeys.endTxn);
      await fixture.fill(at.queue, ['first', 'second']);
      await expectOnLog(at.topic, ['first', 'first', 'second']);
      expect(network.pendingFaults).toBe(0);
    },
  );

  it('recognises messages that are on the log but were never acknowledged', async () => {
    const at = await fixture.names();
    const texts = Array.from({ length: 200 }, (_, index) => `text ${index % 30}`);
    await fixture.fill(at.queue, texts);
    let ends = 0;
    await fixture.read(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      // As if killed now: nothing is acknowledged.
      if (++ends <= 2) throw new MillraceError('LOG_REFUSED', 'the end');
    });
    await expectOnLog(at.topic, texts);
    await fixture.fill(at.queue, ['one more', 'text 0']);
    await expectOnLog(at.topic, [...texts, 'one more', 'text 0']);
    expect(ends).toBeGreaterThanOrEqual(2);
  });

  it('leaves a queue to its current reader, and takes over when that reader ends', async () => {
    const at = await fixture.names();
    await fixture.fill(at.queue, ['before']);
    const first = await fixture.read(at);
    await expectOnLog(at.topic, ['before']);
    const second = await fixture.read(at);
    await expect
      .poll(() => second.inbound.status())
      .toMatchObject({ ok: false, problem: expect.stringContaining('another copy of the bridge') as string });
    await first.inbound.stop();
    await expect.poll(() => second.inbound.status().ok).toBe(true);
    await fixture.fill(at.queue, ['after']);
    await expectOnLog(at.topic, ['before', 'after']);
  });

  const quorum = { 'x-queue-type': 'quorum' };

  it('recognises redelivered messages of a quorum queue, whose headers count the deliveries', async () => {
    const at = await fixture.names();
    const texts = Array.from({ length: 50 }, (_, index) => `text ${index % 7}`);
    await fixture.fill(at.queue, texts, quorum);
    let ends = 0;
    await fixture.read(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      if (++ends <= 2) throw new MillraceError('LOG_REFUSED', 'the end');
    });
    await expectOnLog(at.topic, texts);
    await fixture.fill(at.queue, ['one more'], quorum);
    await expectOnLog(at.topic, [...texts, 'one more']);
  });

  it('leaves a quorum queue to its current reader, and reports a second reader', async () => {
    const at = await fixture.names();
    await fixture.fill(at.queue, [], quorum);
    const old = await fixture.client.channel.consume(at.queue, () => undefined, { noAck: true });
    const { inbound } = await fixture.read(at);
    const problem = (text: string): object => ({
      ok: false,
      problem: expect.stringContaining(text) as string,
    });
    await expect.poll(() => inbound.status()).toMatchObject(problem('reads the queue'));
    await fixture.client.channel.cancel(old.consumerTag);
    await expect.poll(() => inbound.status().ok).toBe(true);
    const joined = await fixture.client.channel.consume(at.queue, () => undefined, { noAck: true });
    await expect
      .poll(async () => {
        await fixture.fill(at.queue, ['any'], quorum);
        return inbound.status();
      })
      .toMatchObject(problem('gets some of its messages'));
    await fixture.client.channel.cancel(joined.consumerTag);
  });

  it.runIf(runsAll).each([{}, quorum])('waits at a queue with a single active consumer: %j', async (type) => {
    const at = await fixture.names();
    const args = { ...type, 'x-single-active-consumer': true };
    await fixture.fill(at.queue, ['before'], args);
    const first = await fixture.read(at);
    await expectOnLog(at.topic, ['before']);
    const second = await fixture.read(at);
    await expect.poll(() => second.inbound.status().problem).toMatch('another copy of the bridge');
    await fixture.fill(at.queue, ['to the first'], args);
    await expectOnLog(at.topic, ['before', 'to the first']);
    expect(first.inbound.status().ok).toBe(true);
    await first.inbound.stop();
    await fixture.fill(at.queue, ['to the second'], args);
    await expectOnLog(at.topic, ['before', 'to the first', 'to the second']);
    await expect.poll(() => second.inbound.status().ok).toBe(true);
  });

  it('reads a stream from its beginning, and resumes at its position after each end', async () => {
    const at = await fixture.names();
    const args = { 'x-queue-type': 'stream' };
    await fixture.fill(at.queue, ['1', '2'], args);
    let ends = 0;
    const first = await fixture.read(at, (publish) => async (messages, ledger, before) => {
      await publish(messages, ledger, before);
      if (++ends === 1) throw new MillraceError('LOG_REFUSED', 'the end');
    });
    await expectOnLog(at.topic, ['1', '2']);
    await fixture.fill(at.queue, ['3'], args);
    await expectOnLog(at.topic, ['1', '2', '3']);
    await first.inbound.stop();
    await fixture.fill(at.queue, ['4'], args);
    await fixture.read(at);
    await expectOnLog(at.topic, ['1', '2', '3', '4']);
  });

  it.runIf(runsAll)(
    'processes every delivered message before it stops, so that no delivery is counted in vain',
    async () => {
      const at = await fixture.names();
      const limited = { ...quorum, 'x-delivery-limit': 1 };
      const texts = Array.from({ length: 400 }, (_, index) => `text ${index}`);
      await fixture.fill(at.queue, texts, limited);
      for (let run = 0; run < 4; run++) {
        const { inbound } = await fixture.read(at);
        await expect.poll(() => inbound.status().ok).toBe(true);
        await inbound.stop();
      }
      await fixture.read(at);
      await expectOnLog(at.topic, texts);
    },
  );

  it('removes bindings that settings no longer name, and no others', async () => {
    const { streams } = fixture.log.open();
    const producer = await streams.createProducer();
    fixture.toStop.push(() => producer.close());
    const connection = fixture.connect();
    fixture.toStop.push(() => connection.close());
    const [kept, dropped] = [unique('kept'), unique('dropped')];
    const bindAll = async (queues: { queue: string; pattern: string }[]): Promise<void> => {
      const wanted = queues.map(resultsBindingOf);
      const own = await OwnBindings.open({
        streams,
        producer,
        url: fixture.rabbit.url,
        wanted,
        logger: silentLogger,
      });
      await own.removeStale(connection);
      await ensurePredictions(connection);
      for (const { queue, pattern } of queues) await ensureResultsQueue(connection, queue, [pattern]);
    };
    const keysOf = async (queue: string): Promise<string[]> => {
      const all = await fixture.rabbit.manage<{ source: string; routing_key: string }[]>(
        `queues/%2F/${queue}/bindings`,
      );
      return all.filter(({ source }) => source !== '').map((each) => each.routing_key);
    };
    await bindAll([
      { queue: kept, pattern: '#' },
      { queue: dropped, pattern: '#' },
    ]);
    await fixture.client.channel.bindQueue(dropped, 'millrace.predictions', '#');
    await fixture.client.channel.bindQueue(kept, 'millrace.predictions', 'by.hand');
    await bindAll([{ queue: kept, pattern: 'credit-default.#' }]);
    expect((await keysOf(kept)).toSorted()).toEqual(['by.hand', 'credit-default.#']);
    expect(await keysOf(dropped)).toEqual(['#']);
    await fixture.client.channel.deleteQueue(kept);
    await bindAll([]);
  });

  it.each([
    ['is there, otherwise declared but of the type', 'topic', false, true],
    ['is there and of another type', 'fanout', true, false],
  ] as const)('takes an exchange that %s: %s', async (_, type, durable, expected) => {
    const at = await fixture.names();
    const exchange = unique('exchange');
    await fixture.client.channel.assertExchange(exchange, type, { durable });
    const binding = { queue: at.queue, exchange, type: 'topic' as const, durable: true, routing_key: '#' };
    const { inbound } = await fixture.read({ ...at, bindings: [binding] });
    await expect
      .poll(() => inbound.status())
      .toMatchObject(
        expected
          ? { ok: true }
          : { problem: expect.stringMatching(/delete it there.*RABBITMQ_BINDINGS/) as string },
      );
    await fixture.client.channel.deleteExchange(exchange);
  });

  it('names what it can’t use and the setting that asked for it, and continues when that is fixed', async () => {
    const at = await fixture.names();
    const exchange = unique('exchange');
    await fixture.client.channel.assertExchange(exchange, 'direct', { durable: true });
    const binding = { queue: at.queue, exchange, type: 'topic' as const, durable: true, routing_key: '#' };
    const { inbound } = await fixture.read({ ...at, bindings: [binding] });
    await expect
      .poll(() => inbound.status().problem)
      .toMatch(new RegExp(`${exchange} .*PRECONDITION.*RABBITMQ_BINDINGS`));
    await fixture.client.channel.deleteExchange(exchange);
    await expect.poll(() => inbound.status().ok).toBe(true);
    await fixture.client.send('routed', { exchange, key: 'any.key' });
    await expectOnLog(at.topic, ['routed']);
  });
});
