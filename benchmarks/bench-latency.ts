import { setTimeout as sleep } from 'node:timers/promises';
import { kafkajs } from '../streams/kafkajs.js';
import type { Cluster } from './bench-cluster.js';
import type { Scorer } from './bench-scorers.js';
import { until } from './bench-system.js';

const tickMs = 10;
/** Of the load that is sent before latencies count. */
const warmUpMs = 2_000;
/** One prediction of so many is looked at: reading each would take as much time as scoring it. */
const sampled = 8;

export interface Latency {
  p50: number;
  p99: number;
}

let groups = 0;

/**
 * Measures milliseconds from the append of an event to the arrival of its prediction at a consumer that reads
 * only committed records, under an even load.
 */
export async function measureLatency(
  cluster: Cluster,
  { group, events, predictions }: Scorer,
  { perSecond, seconds }: { perSecond: number; seconds: number },
): Promise<Latency> {
  const kafka = new kafkajs.Kafka({ brokers: cluster.brokers, logLevel: kafkajs.logLevel.ERROR });
  const consumer = kafka.consumer({ groupId: `bench-latency-${++groups}`, readUncommitted: false });
  const samples: number[] = [];
  let countFrom = Number.POSITIVE_INFINITY;
  let hasStarted = false;
  let read = 0;
  await consumer.connect();
  await consumer.subscribe({ topic: predictions, fromBeginning: false });
  await consumer.run({
    autoCommit: false,
    eachBatch: ({ batch }) => {
      const at = performance.timeOrigin + performance.now();
      for (const { value } of batch.messages) {
        hasStarted = true;
        if (read++ % sampled !== 0) continue;
        const { event_time } = cluster.readPrediction(value);
        if (event_time >= countFrom) samples.push(at - event_time);
      }
      return Promise.resolve();
    },
  });
  // It reads from the end, which it has found when something comes.
  await until(async () => {
    await cluster.fill(1, events);
    return hasStarted;
  });
  const started = performance.now();
  countFrom = Date.now() + warmUpMs;
  const sends: Promise<void>[] = [];
  for (let sent = 0; performance.now() - started < warmUpMs + seconds * 1000;) {
    const due = Math.floor(((performance.now() - started) / 1000) * perSecond);
    sends.push(cluster.fill(due - sent, events));
    sent = due;
    await sleep(tickMs);
  }
  await Promise.all(sends);
  await until(async () => (await cluster.lag(group, events)) === 0);
  await consumer.disconnect();
  return { p50: quantile(samples, 0.5), p99: quantile(samples, 0.99) };
}

function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
