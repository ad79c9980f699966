import type { ModelManifest } from '../../models/manifest.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { makeRow } from '../scoring/features.js';
import type { OpenPipeline } from './open-pipelines.js';
import { seededRandom } from './sampler.js';
import { modelFor, modelsOf } from '../scoring/model-router.js';

/** Samples drawn of a pipeline; of several models behind it each gets some. */
const draws = 200;
/** Rows of a pipeline that are kept. */
const most = 32;

/**
 * What a version would be given for sample events of each pipeline that uses its model.
 *
 * @returns rows in the order of the version's inputs; none when no pipeline that uses the model has samples.
 * @throws MillraceError `MODEL_REFUSED` when an event's features do not fit the version.
 */
export function sampleRows(pipelines: readonly OpenPipeline[], manifest: ModelManifest): number[][] {
  const users = pipelines.filter(({ pipeline }) => modelsOf(pipeline).includes(manifest.name));
  return users.flatMap((open) =>
    sampleEvents(open, manifest.name).map((event) => rowOf(open, manifest, event)),
  );
}

const misfits = new WeakMap<OpenPipeline, WeakMap<ModelManifest, string[]>>();

/**
 * What is wrong with the champions of a pipeline for its sample events: whatever comes would be a dead
 * letter. A version that fits may have to be promoted by the very process that finds this, so it is no reason
 * to end.
 */
export function misfitsOf(open: OpenPipeline): string[] {
  const known = misfits.get(open) ?? new WeakMap<ModelManifest, string[]>();
  misfits.set(open, known);
  return open.scorer.champions().flatMap((manifest) => {
    const found = known.get(manifest) ?? misfitOf(open, manifest);
    known.set(manifest, found);
    return found;
  });
}

function misfitOf(open: OpenPipeline, manifest: ModelManifest): string[] {
  try {
    sampleRows([open], manifest);
    return [];
  } catch (error) {
    return [`${messageOf(error)}. Put its features right, or promote a version that fits`];
  }
}

function sampleEvents({ pipeline }: OpenPipeline, model: string): object[] {
  const { sample } = pipeline;
  if (sample === undefined) return [];
  const random = seededRandom(20_261_121);
  const events = Array.from({ length: draws }, () => sample(random));
  return events.filter((event) => modelFor(pipeline, event) === model).slice(0, most);
}

function rowOf({ pipeline }: OpenPipeline, manifest: ModelManifest, event: object): number[] {
  const row = makeRow(pipeline, manifest, event);
  if (Array.isArray(row)) return row;
  throw new MillraceError(
    'MODEL_REFUSED',
    `${manifest.name} ${manifest.version} can't score a sample event of ${pipeline.name}: ${row.message}`,
  );
}
