import { setTimeout as sleep } from 'node:timers/promises';
import { Gauge, type Registry } from 'prom-client';
import type { PartHealth } from '../platform/health.js';
import type { Streams } from '../streams/streams.js';
import { pipelineTopics, scoringGroup } from '../streams/topics.js';
import { describeBeyondEnd, type OffsetBeyondEnd, offsetsBeyondEnd } from '../streams/log-admin.js';

/** Returns the number of unscored events of some pipelines. @throws {MillraceError} as `Streams.lag`. */
export async function scoringLag(streams: Streams, pipelines: readonly string[]): Promise<number> {
  const lags = await Promise.all(
    pipelines.map((name) => streams.lag(scoringGroup(name), [pipelineTopics(name).events])),
  );
  return lags.flat().reduce((sum, { lag }) => sum + lag, 0);
}

/** Minimum interval between checks of committed offsets against the log, in milliseconds. */
const lookEveryMs = 5_000;

/** How long a scrape waits for the log, in milliseconds. */
const timeoutMs = 1_000;

/**
 * Reports the lag of this process's consumer groups at each scrape, and offsets beyond the end of the log.
 */
export class ConsumerLag {
  readonly #groups = new Map<string, readonly string[]>();
  readonly #streams: Streams;
  #beyondEnd: OffsetBeyondEnd[] = [];
  #nextLook = 0;

  constructor(registry: Registry, streams: Streams) {
    this.#streams = streams;
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
        // Omits the lag while the log is unavailable, so that other metrics do not wait. Readiness reports
        // the log.
        const late = sleep(timeoutMs, undefined, { ref: false });
        const figures = await Promise.race([Promise.all(asked).catch(() => undefined), late]);
        gauge.reset();
        for (const { lag, ...labels } of figures?.flat() ?? []) gauge.set(labels, lag);
      },
    });
  }

  /** Adds the topics of a group. */
  track(group: string, topics: readonly string[]): void {
    this.#groups.set(group, topics);
  }
  /**
   * Degraded while a group has committed offsets beyond the end of the log. Returns a cached state, without
   * waiting for the log.
   */
  health(): PartHealth {
    if (performance.now() > this.#nextLook) {
      this.#nextLook = Infinity;
      void this.#look();
    }
    if (this.#beyondEnd.length === 0) return { status: 'up' };
    return { status: 'degraded', detail: this.#beyondEnd.map(describeBeyondEnd).join('; ') };
  }

  async #look(): Promise<void> {
    try {
      const looks = [...this.#groups].map(([group, topics]) =>
        offsetsBeyondEnd(this.#streams, group, topics),
      );
      this.#beyondEnd = (await Promise.all(looks)).flat();
    } catch {
      // The part `log` reports this error.
    } finally {
      this.#nextLook = performance.now() + lookEveryMs;
    }
  }
}
