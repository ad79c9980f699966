import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ApacheKafka, describeApacheKafka } from './engines/apache-kafka.js';
import { type ScorerCopy, ScoringFleet, type Stalls } from './scoring-fleet.js';
import { fullSize } from './size.js';

const partitions = 12;
const sessionTimeoutMs = 6_000;

describeApacheKafka('scorers on Apache Kafka with 12 partitions', () => {
  let kafka: ApacheKafka;
  let fleet: ScoringFleet;
  const copies: ScorerCopy[] = [];

  beforeEach(async () => {
    kafka = await ApacheKafka.start({
      // Apache Kafka's own default; the tests' brokers have none.
      settings: { 'group.initial.rebalance.delay.ms': 3_000 },
    });
    const settings = { KAFKA_SESSION_TIMEOUT_MS: String(sessionTimeoutMs) };
    fleet = await ScoringFleet.open({ brokers: kafka.brokers, partitions, settings });
  });

  afterEach(async () => {
    copies.length = 0;
    await fleet.close();
    await kafka.stop();
  });

  async function add(): Promise<void> {
    copies.push(await fleet.startScorer());
  }

  async function remove(): Promise<void> {
    const copy = copies.shift();
    copy?.program.signal('SIGTERM');
    expect(await copy?.program.exited, copy?.program.output()).toBe(0);
  }

  async function measure(what: string, action: () => Promise<unknown>): Promise<Stalls> {
    const stalls = await fleet.measure(action);
    const sorted = stalls.byPartition.toSorted((a, b) => a - b);
    console.info(`${what}: all ${stalls.all} ms, one partition ${sorted[0]} to ${sorted.at(-1)} ms`);
    return stalls;
  }

  it.runIf(fullSize)('pause for less than 3 s when one joins or leaves', { timeout: 180_000 }, async () => {
    await add();
    await add();
    await fleet.startLoad();
    // The pauses of a busy machine anyway.
    const usual = await measure('nothing happens', () => sleep(2_000));
    const limit = 3_000 + Math.max(...usual.byPartition);
    const changes = [await measure('one joins', add), await measure('one leaves', remove)];
    changes.push(
      await measure('all are restarted, one after the other', async () => {
        for (let each = 0; each < 2; each++) {
          await remove();
          await add();
        }
      }),
    );
    for (const { byPartition } of changes) expect(Math.max(...byPartition)).toBeLessThan(limit);

    await add();
    const killed = await measure('one is killed', async () => {
      await copies.shift()?.program.kill();
      await sleep(sessionTimeoutMs);
    });
    // Its partitions wait for the session timeout; those of the others continue meanwhile.
    expect(Math.max(...killed.byPartition)).toBeLessThan(sessionTimeoutMs + limit);
    const untouched = killed.byPartition.filter((stall) => stall < limit);
    expect(untouched.length).toBeGreaterThanOrEqual(partitions / 2);

    await measure('one is killed and started again at once', async () => {
      await copies.shift()?.program.kill();
      await add();
    });
    const { events, wrong } = await fleet.stopLoad();
    console.info(`${events} events, ${wrong.length} without exactly one prediction`);
    expect(wrong).toEqual([]);
  });
});
