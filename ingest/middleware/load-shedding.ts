import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Logger } from '../../platform/logger.js';
import type { RateLimits } from './rate-limits.js';

export interface LoadSheddingOptions {
  limits: RateLimits;
  logger: Logger;
  /** Mean delay of the event loop over a second that is too much, milliseconds. */
  loopDelayMs: number;
  /** Events waiting for their score that are too many, if they become more. */
  lagRecords: number;
  /** How many events wait for their score now. */
  lag: () => Promise<number>;
  /** How often the limits are looked at, milliseconds. Default 1,000. */
  lookEveryMs?: number;
  /** How often the log is asked for `lag`, milliseconds. Default 5,000. */
  lagEveryMs?: number;
}

const resolutionMs = 20;

/**
 * Tightens the limits while this process or the scorers can't keep up, and relaxes them when they can: each second by half
 * or double. So limits that are far above what anybody asks for need some seconds of pressure before a client meets
 * one, and a burst is over by then.
 *
 * @returns what ends it.
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
      // Without the log nothing is known of the lag, and nothing new comes in that would make it grow.
      grows = false;
    } finally {
      asking = false;
    }
  };

  const look = (): void => {
    // The histogram has the times between its ticks, the resolution when the loop is idle, and none when it is not: then
    // all the time since the last look was one turn.
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
