import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { sql } from './audit.js';
import { auditBridge } from './bridge-audit.js';
import { describeRabbitMq, RabbitMq } from './engines/rabbitmq-server.js';
import { patience } from './engines/chosen.js';
import { freePorts, type Program, startProgram, whenReady } from './programs.js';
import { drain, type QueuedResult, QueueProducer } from './queue-producer.js';
import { seededRandom } from './seeded-random.js';
import { runsAll, sized } from './size.js';
import { WholeSystem } from './whole-system.js';

const size = sized('MILLRACE_BRIDGE_MESSAGES', { quick: 2_000, full: 20_000 });
const kills = sized('MILLRACE_BRIDGE_KILLS', { quick: 2, full: 5 });
const restarts = sized('MILLRACE_BRIDGE_RESTARTS', { quick: 1, full: 2 });
const seed = Number(process.env['MILLRACE_CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const timeout = patience * (60_000 + (kills + restarts) * 20_000 + size * 5);

const queue = 'alicpp_records';
const resultsQueue = 'alicpp_results';
const replyTo = 'alicpp_replies';
/** The minimum that brokers allow: after this time results continue when the bridge was killed. */
const sessionTimeoutMs = 6_000;

describeRabbitMq('the RabbitMQ bridge', () => {
  let rabbitMq: RabbitMq;
  /** Engines, scorer and sink in one undisturbed process. */
  let system: WholeSystem;
  let bridgePort: number;

  beforeEach(async () => {
    [rabbitMq, system] = await Promise.all([RabbitMq.start(), WholeSystem.create()]);
    bridgePort = (await freePorts('bridge')).bridge;
    await whenReady(system.start(), system.http);
  });

  afterEach(async () => {
    await system.remove();
    await rabbitMq?.stop();
  });

  test.runIf(runsAll).each([
    { type: 'classic', end: 'in order', messages: size, options: {} },
    { type: 'quorum', end: 'by SIGKILL', messages: size / 4, options: { 'x-queue-type': 'quorum' } },
  ])(
    `$messages messages in a $type queue over ${kills} kills of the bridge, and RabbitMQ ended $end ${restarts} times: each is a row once, and a result`,
    { timeout },
    async ({ type, messages, options }) => {
      console.info(
        `MILLRACE_CRASH_SEED=${seed} MILLRACE_BRIDGE_MESSAGES=${size} MILLRACE_BRIDGE_KILLS=${kills} MILLRACE_BRIDGE_RESTARTS=${restarts}`,
      );
      const random = seededRandom(seed);
      const bridgeUrl = `http://127.0.0.1:${bridgePort}`;
      const startBridge = (): Program =>
        startProgram('cli/main.js', ['bridge'], {
          ...system.engines,
          PORT: String(bridgePort),
          DATA_DIR: join(system.folder, 'bridge'),
          RABBITMQ_URL: rabbitMq.url,
          RABBITMQ_RESULTS_QUEUES: resultsQueue,
          KAFKA_SESSION_TIMEOUT_MS: String(sessionTimeoutMs),
        });
      const countRows = async (): Promise<number> => {
        const query = 'SELECT toUInt32(count()) AS rows FROM millrace.predictions_storage FINAL';
        const [row] = await sql<{ rows: number }>(system.clickhouse, query);
        return row?.rows ?? 0;
      };
      const whenStored = (count: number): Promise<void> =>
        vi.waitFor(async () => expect(await countRows()).toBeGreaterThanOrEqual(count), {
          timeout: timeout / 2,
          interval: 20,
        });

      const producer = await QueueProducer.create({
        url: rabbitMq.url,
        queue,
        arguments: options,
        replyTo,
        random,
      });
      // Existing programs have declared their queues before the bridge starts.
      await producer.publish(0);
      let bridge = startBridge();
      await whenReady(bridge, bridgeUrl);

      // A producer whose confirms are lost publishes again, and doubles its messages itself. So RabbitMQ
      // stops between waves.
      let last: Promise<unknown> = Promise.resolve();
      const oneAfterTheOther = async (task: () => Promise<unknown>): Promise<void> => {
        const before = last;
        const running = (async () => {
          await before;
          await task();
        })();
        last = running;
        await running;
      };
      const produce = async (count: number): Promise<void> => {
        const wave = Math.ceil(count / 3);
        for (let left = count; left > 0; left -= wave)
          await oneAfterTheOther(() => producer.publish(Math.min(wave, left)));
      };
      const kill = async (): Promise<void> => {
        const early = random() < 0.5 ? random() * 1_500 : undefined;
        await bridge.kill();
        bridge = startBridge();
        if (early === undefined) return;
        await sleep(early);
        await bridge.kill();
        bridge = startBridge();
      };
      // A killed classic queue forgets acknowledgements that are not on its disk yet, and no other part knows
      // them.
      const restart = (): Promise<void> =>
        oneAfterTheOther(async () => {
          if (type === 'quorum') await rabbitMq.kill();
          await rabbitMq.restart();
        });
      const rounds = shuffled([...Array(kills).fill(kill), ...Array(restarts).fill(restart)], random);
      /**
       * Kills at a random moment while the messages of a round arrive; half of the time only after results
       * have been published.
       */
      const run = async (round: number, disturb: () => Promise<void>): Promise<void> => {
        const share = Math.floor((messages * (round + 1)) / rounds.length) - producer.published.length;
        const threshold = producer.published.length + random() * 0.8 * share;
        const amidResults = random() < 0.5;
        const momentMs = random() * 300;
        const producing = produce(share);
        await whenStored(threshold);
        if (amidResults) {
          await whenReady(bridge, bridgeUrl);
          await growth(() => resultsOf(bridgeUrl));
        }
        await sleep(momentMs);
        await Promise.all([producing, disturb()]);
      };

      const startedAt = performance.now();
      const results: QueuedResult[] = [];
      for (const [round, disturb] of rounds.entries()) {
        await run(round, disturb);
        // A queue of results without a reader makes the bridge degraded.
        results.push(...(await drain(rabbitMq.url, resultsQueue)));
      }
      await whenReady(bridge, bridgeUrl);
      await whenStored(messages);
      await vi.waitFor(
        async () => {
          results.push(...(await drain(rabbitMq.url, resultsQueue)));
          expect(new Set(results.map(({ id }) => id)).size).toBeGreaterThanOrEqual(messages);
          expect(await rabbitMq.queue(queue)).toMatchObject({
            messages: 0,
            messages_ready: 0,
            messages_unacknowledged: 0,
            durable: true,
            arguments: options,
          });
          expect((await rabbitMq.queue('millrace.dead-letters')).messages).toBe(0);
        },
        { timeout: 60_000, interval: 200 },
      );
      bridge.signal('SIGTERM');
      expect(await bridge.exited, bridge.output()).toBe(0);

      results.push(...(await drain(rabbitMq.url, resultsQueue)));
      const replies = await drain(rabbitMq.url, replyTo);
      const report = await auditBridge(producer.published, results, replies, system);
      console.info(JSON.stringify({ ...report, seconds: (performance.now() - startedAt) / 1000 }));
      expect(report).toMatchObject({ problems: [], events: messages, predictions: messages, rows: messages });
      expect(await rabbitMq.log()).not.toContain('PRECONDITION_FAILED');
    },
  );
});

/** Waits until the number grows, for at most 2 s: all messages may have arrived before. */
async function growth(count: () => Promise<number>): Promise<void> {
  const before = await count();
  const deadline = performance.now() + 2_000;
  while ((await count()) === before && performance.now() < deadline) await sleep(5);
}

/** Results that a bridge has published since its start. */
async function resultsOf(http: string): Promise<number> {
  const metrics = await (await fetch(`${http}/metrics`)).text();
  return Number(/^millrace_rabbitmq_published_total\{.*result.*routed.*\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

/** Shuffles by the seed (Fisher and Yates). */
function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const pick = Math.floor(random() * (last + 1));
    [result[last], result[pick]] = [result[pick] as T, result[last] as T];
  }
  return result;
}
