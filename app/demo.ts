import { pause } from '../platform/backoff.js';
import type { EventAcceptor } from '../processors/events/accept-events.js';
import { messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import type { Role } from './context.js';

const intervalMs = 1000;

/** Sends one realistic event per second, in turn to every pipeline with samples. */
export function startDemo(pipelines: Pipelines, acceptor: EventAcceptor, logger: Logger): Role {
  const stopping = new AbortController();
  const feed = async (): Promise<void> => {
    for (let turn = 0; !stopping.signal.aborted; turn++) {
      const sampled = [...pipelines.values()].filter(({ pipeline }) => pipeline.sample !== undefined);
      const open = sampled[turn % sampled.length];
      if (open === undefined) {
        await pause(intervalMs, stopping.signal);
        continue;
      }
      const context = { source: 'millrace/demo', timeoutMs: 10_000 };
      await acceptor.publish(open, [open.pipeline.sample?.(Math.random)], context).catch((error: unknown) => {
        logger.warn({ pipeline: open.name, error: messageOf(error) }, 'a demo event was not accepted');
      });
      await pause(intervalMs, stopping.signal);
    }
  };
  const feeding = feed();
  return {
    stop: () => {
      stopping.abort();
      return feeding;
    },
  };
}
