import { expect, it } from 'vitest';
import { describeApacheKafka } from '../system/engines/apache-kafka.js';
import { Run } from './run.js';

const numberOf = (variable: string, fallback: number): number => Number(process.env[variable] || fallback);

const first = numberOf('MILLRACE_FAULT_SEED', Math.floor(Date.now() / 1000) % 1_000_000);
const runs = numberOf('MILLRACE_FAULT_RUNS', 1);
const minEvents = numberOf('MILLRACE_FAULT_EVENTS', 20_000);
const timeout = 1_200_000;

describeApacheKafka('faults on Apache Kafka', () => {
  const seeds = Array.from({ length: runs }, (_, index) => first + index);

  it.each(seeds)('seed %i: nothing is lost, doubled, wrong or out of order', { timeout }, async (seed) => {
    console.info(
      `[${seed}] repeat it with MILLRACE_FAULT_SEED=${seed} MILLRACE_FAULT_EVENTS=${minEvents} npm run test:faults`,
    );
    const report = await Run.carryOut({ seed, minEvents });
    console.info(JSON.stringify(report));
    expect(report.problems, `the logs are in ${report.logs}`).toEqual([]);
    expect(report.accepted).toBeGreaterThanOrEqual(minEvents);
  });
});
