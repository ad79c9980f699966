import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Logger } from '../../platform/logger.js';
import type { RateLimits } from './rate-limits.js';

export interface LoadSheddingOptions {
  limits: RateLimits;
  logger: Logger;
  /** Maximum mean delay of the event loop over a second, milliseconds. */
  loopDelayMs: number;
  /** Maximum number of unscored events, if it grows. */
  lagRecords: number;
  /** Returns the current number of unscored events. */
  lag: () => Promise<number>;
  /** Interval of adjusting the limits, milliseconds. Default 1,000. */
  lookEveryMs?: number;
  /** Interval of asking the log for `lag`, milliseconds. Default 5,000. */
  lagEveryMs?: number;
}

const resolutionMs = 20;

/**
 * Tightens the limits while this process or the scorers can't keep up, and relaxes them when they can: each
 * second by half or double. So high limits need some seconds of pressure before they affect a client, and a
 * burst is over by then.
 *
 * @returns a function that ends it.
 */
export function startLoadShedding(options: LoadSheddingOptions): { stop: () => void } {
  const { limits, logger, loopDelayMs, lagRecords, lag, lookEveryMs = 1_000, lagEveryMs = 5_000 } = options;
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  let waiting = 0;
  let grows = false;
  let asking = false;
  let lookedAt = performance.now();

  const lookAtLag = async (): Promise<void> => {
    if (asking) return;
    asking = true;
    try {
      const now = await lag();
      grows = now > lagRecords && now >= waiting;
      waiting = now;
    } catch {
      // Without the log the lag is unknown, and no new events can increase it.
      grows = false;
    } finally {
      asking = false;
    }
  };

  const look = (): void => {
    // The histogram has the times between its ticks: the resolution when the loop is idle, and none when it
    // is blocked, when all the time since the last check was one turn.
    const betweenTicksMs = delay.count === 0 ? performance.now() - lookedAt : delay.mean / 1e6;
    const meanDelayMs = Math.max(0, betweenTicksMs - resolutionMs);
    lookedAt = performance.now();
    delay.reset();
    const before = limits.limit;
    if (meanDelayMs > loopDelayMs || grows) limits.tighten();
    else if (meanDelayMs < loopDelayMs / 2 && waiting <= lagRecords) limits.relax();
    if (before === limits.perSecond && limits.limit < before)
      logger.warn({ meanDelayMs, waiting }, 'too busy: limiting clients to less');
    if (before < limits.perSecond && limits.limit === limits.perSecond)
      logger.info('clients may ask for as much as is set again');
  };

  const timers = [setInterval(look, lookEveryMs), setInterval(() => void lookAtLag(), lagEveryMs)];
  for (const timer of timers) timer.unref();
  return {
    stop: () => {
      for (const timer of timers) clearInterval(timer);
      delay.disable();
    },
  };
}
