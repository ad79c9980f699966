import { setTimeout as sleep } from 'node:timers/promises';
import { Gauge, type Registry } from 'prom-client';
import type { Streams } from '../streams/streams.js';
import { pipelineTopics, scoringGroup } from '../streams/topics.js';

/** How many events of some pipelines wait for their score. @throws {MillraceError} as `Streams.lag`. */
export async function scoringLag(streams: Streams, pipelines: readonly string[]): Promise<number> {
  const lags = await Promise.all(
    pipelines.map((name) => streams.lag(scoringGroup(name), [pipelineTopics(name).events])),
  );
  return lags.flat().reduce((sum, { lag }) => sum + lag, 0);
}

/** How long a scrape waits for the log, milliseconds. */
const patienceMs = 1_000;

/** Shows how far the consumer groups of this process are behind, asked for anew at each scrape. */
export class ConsumerLag {
  readonly #groups = new Map<string, readonly string[]>();

  constructor(registry: Registry, streams: Streams) {
    const gauge = new Gauge({
      name: 'millrace_consumer_lag_records',
      help: 'Records on the log that a consumer group has not processed yet; transaction markers count as one each.',
      labelNames: ['group', 'topic', 'partition'] as const,
      registers: [registry],
      collect: async () => {
        const asked = [...this.#groups].map(async ([group, topics]) => {
          const lags = await streams.lag(group, topics);
          return lags.map(({ topic, partition, lag }) => ({
            group,
            topic,
            partition: String(partition),
            lag,
          }));
        });
        // Without the log there are no figures; readiness says that it is down, and the other metrics must not wait.
        const late = sleep(patienceMs, undefined, { ref: false });
        const figures = await Promise.race([Promise.all(asked).catch(() => undefined), late]);
        gauge.reset();
        for (const { lag, ...labels } of figures?.flat() ?? []) gauge.set(labels, lag);
      },
    });
  }

  /** Adds a group's topics to what is shown. */
  track(group: string, topics: readonly string[]): void {
    this.#groups.set(group, topics);
  }
}
