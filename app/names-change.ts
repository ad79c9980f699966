import type { Logger } from '../platform/logger.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';

/**
 * Calls `restart` when there are topics of another pipeline: a consumption has to begin anew to read them.
 * Returns a function that ends this.
 */
export function whenNamesChange(
  pipelines: Pick<Pipelines, 'names' | 'onChange'>,
  restart: () => Promise<void>,
  logger: Logger,
): () => void {
  let known = String(pipelines.names);
  return pipelines.onChange(() => {
    if (String(pipelines.names) === known) return;
    known = String(pipelines.names);
    restart().catch((error: unknown) => logger.error({ err: error }, 'a consumption cannot be restarted'));
  });
}
