import { afterEach, beforeEach, expect, it } from 'vitest';
import { ApacheKafka, describeApacheKafka } from './engines/apache-kafka.js';
import { type ScorerCopy, ScoringFleet, type Stalls } from './scoring-fleet.js';

const partitions = 12;

describeApacheKafka('scorers on Apache Kafka with 12 partitions', () => {
  let kafka: ApacheKafka;
  let fleet: ScoringFleet;

  beforeEach(async () => {
    kafka = await ApacheKafka.start({
      // Apache Kafka's own default; the tests' brokers have none.
      settings: { 'group.initial.rebalance.delay.ms': 3_000 },
    });
    fleet = await ScoringFleet.open({ brokers: kafka.brokers, partitions });
  });

  afterEach(async () => {
    await fleet.close();
    await kafka.stop();
  });

  async function stop(copy: ScorerCopy | undefined): Promise<void> {
    copy?.program.signal('SIGTERM');
    expect(await copy?.program.exited, copy?.program.output()).toBe(0);
  }

  it(
    'stand still for less than 3 s when one joins or leaves, and while all are restarted',
    { timeout: 300_000 },
    async () => {
      const copies = [await fleet.startScorer(), await fleet.startScorer()];
      await fleet.startLoad();
      const stalls: Record<string, Stalls> = {
        nothing: await fleet.measure(() => new Promise((resolve) => setTimeout(resolve, 3000))),
        join: await fleet.measure(async () => void copies.push(await fleet.startScorer())),
        leave: await fleet.measure(() => stop(copies.shift())),
        'join again': await fleet.measure(async () => void copies.push(await fleet.startScorer())),
        'rolling restart': await fleet.measure(async () => {
          for (const copy of copies.splice(0)) {
            await stop(copy);
            copies.push(await fleet.startScorer());
          }
        }),
      };
      const table = Object.entries(stalls).map(
        ([what, { all, byPartition }]) =>
          `${what}: all ${all}, of one partition ${Math.max(...byPartition)}, least of one ${Math.min(...byPartition)}`,
      );
      console.info(table.join('\n'));
      if (process.env['KILLS']) {
        const killed = await fleet.measure(async () => {
          await copies.shift()?.program.kill();
          await new Promise((resolve) => setTimeout(resolve, 12000));
        });
        console.info('killed', JSON.stringify(killed));
        const killed2 = await fleet.measure(async () => {
          await copies.shift()?.program.kill();
          copies.push(await fleet.startScorer());
        });
        console.info('killed and restarted', JSON.stringify(killed2));
      }
      console.info(JSON.stringify(await fleet.stopLoad()));
      for (const { byPartition } of Object.values(stalls))
        expect(Math.max(...byPartition)).toBeLessThan(3_000);
    },
  );
});
