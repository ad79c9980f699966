import { Gauge, type Registry } from 'prom-client';
import type { Streams } from '../streams/streams.js';

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
        for (const [group, topics] of this.#groups) {
          // While the log can't be asked the last figures stand; readiness says that it is down.
          const lags = await streams.lag(group, topics).catch(() => []);
          for (const { topic, partition, lag } of lags)
            gauge.set({ group, topic, partition: String(partition) }, lag);
        }
      },
    });
  }

  /** Adds a group's topics to what is shown. */
  track(group: string, topics: readonly string[]): void {
    this.#groups.set(group, topics);
  }
}
