import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';

/** Finds a pipeline. @throws MillraceError `PIPELINE_UNKNOWN` that names the existing ones. */
export function findPipeline(pipelines: ReadonlyMap<string, OpenPipeline>, name: string): OpenPipeline {
  const pipeline = pipelines.get(name);
  if (pipeline !== undefined) return pipeline;
  const names = [...pipelines.keys()].join(', ');
  throw new MillraceError('PIPELINE_UNKNOWN', `There is no pipeline '${name}'. There are: ${names}.`);
}
