import { pause } from '../platform/backoff.js';
import type { EventAcceptor } from '../processors/events/accept-events.js';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import type { OpenPipeline } from '../processors/pipelines/open-pipelines.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import { makeRow } from '../processors/scoring/features.js';
import { modelFor } from '../processors/scoring/model-router.js';
import { drawEvent } from '../schemas/draw-event.js';
import type { Role } from './context.js';

const intervalMs = 1000;

/**
 * Returns a sample event of a pipeline. Without `sample` it is drawn from the contract: undefined if that one
 * can't be scored, since a text that no model knows would only become a dead letter.
 */
export function demoEvent(
  { pipeline, scorer, event }: OpenPipeline,
  random = Math.random,
): object | undefined {
  if (pipeline.sample !== undefined) return pipeline.sample(random);
  const drawn = drawEvent(event, random);
  const model = modelFor(pipeline, drawn);
  const champion = scorer.champions().find(({ name }) => name === model);
  if (champion === undefined || makeRow(pipeline, champion, drawn) instanceof MillraceError) return undefined;
  return drawn;
}

/** Sends one sample event per second, in turn to every pipeline. */
export function startDemo(pipelines: Pipelines, acceptor: EventAcceptor, logger: Logger): Role {
  const stopping = new AbortController();
  const feed = async (): Promise<void> => {
    for (let turn = 0; !stopping.signal.aborted; turn++) {
      const open = [...pipelines.values()][turn % pipelines.size];
      try {
        const event = open && demoEvent(open);
        if (open !== undefined && event !== undefined)
          await acceptor.publish(open, [event], { source: 'millrace/demo', timeoutMs: 10_000 });
      } catch (error) {
        // The pipeline's own code draws the event.
        logger.warn({ pipeline: open?.name, error: messageOf(error) }, 'a demo event was not accepted');
      }
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
