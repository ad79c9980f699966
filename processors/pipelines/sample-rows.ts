import type { ModelManifest } from '../../models/manifest.js';
import type { ModelRow } from '../../models/tensors.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { didYouMean } from '../../platform/closest-name.js';
import { fieldPaths, findPath } from '../../schemas/field-paths.js';
import { drawEvent } from '../../schemas/draw-event.js';
import { inputPath, makeRow } from '../scoring/features.js';
import type { OpenPipeline } from './open-pipelines.js';
import type { Pipeline } from './pipeline.js';
import { seededRandom } from './sampler.js';
import { modelFor, modelsOf } from '../scoring/model-router.js';

/** Number of samples of a pipeline; each of its models gets some. */
const draws = 200;
/** Number of rows kept per pipeline. */
const most = 32;

/**
 * Returns the inputs of a version for sample events of each pipeline that uses its model.
 *
 * @returns rows in the order of the version's inputs; none when no pipeline that uses the model has samples.
 * @throws MillraceError `MODEL_REFUSED` when an event's features do not fit the version.
 */
export function sampleRows(pipelines: readonly OpenPipeline[], manifest: ModelManifest): ModelRow[] {
  const users = pipelines.filter(({ pipeline }) => modelsOf(pipeline).includes(manifest.name));
  return users.flatMap((open) => {
    requireFields(open, manifest);
    return sampleEvents(open, manifest.name).map((event) => rowOf(open, manifest, event));
  });
}

/** What can be said without a sample: of the fields that feed the inputs, or of the number of features. */
function requireFields({ name: pipelineName, pipeline, event }: OpenPipeline, manifest: ModelManifest): void {
  const version = `${manifest.name} ${manifest.version}`;
  const refused = (problem: string): MillraceError => new MillraceError('MODEL_REFUSED', problem);
  if (pipeline.features !== undefined) {
    if (pipeline.sample !== undefined) return;
    const count = countFeatures(pipeline.features, event);
    if (count === undefined || count === manifest.inputs.length) return;
    throw refused(
      `${version} can't score the events of ${pipelineName}: the pipeline makes ${count} features; its model takes ${manifest.inputs.length}`,
    );
  }
  const inputs = manifest.inputs.map(({ name }) => name);
  const unknown = Object.keys(pipeline.inputs ?? {}).find((name) => !inputs.includes(name));
  if (unknown !== undefined) {
    throw refused(
      `${version} can't score the events of ${pipelineName}: \`inputs\` of the pipeline names ${unknown}, which is no input of the model.${didYouMean(unknown, inputs)} Name the inputs of its model.json`,
    );
  }
  for (const { name } of manifest.inputs) {
    const path = inputPath(pipeline, name);
    if (findPath(event, path) !== undefined) continue;
    const known = fieldPaths(event).map((field) => field.path);
    throw refused(
      `${version} can't score the events of ${pipelineName}: its input ${name} takes the field ${path}, which they do not have.${didYouMean(path, known)} Name the field in \`inputs\` of the pipeline`,
    );
  }
}

/** A feature function may refuse such an event. */
function countFeatures(
  features: NonNullable<Pipeline['features']>,
  event: OpenPipeline['event'],
): number | undefined {
  try {
    return features(drawEvent(event, seededRandom(1))).length;
  } catch {
    return undefined;
  }
}

const misfits = new WeakMap<OpenPipeline, WeakMap<ModelManifest, string[]>>();

/**
 * Returns the problems of a pipeline's champions with its events: every event would become a dead letter. The
 * pipeline is down then, until a version that fits is promoted or the pipeline is corrected.
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

function rowOf({ pipeline }: OpenPipeline, manifest: ModelManifest, event: object): ModelRow {
  const row = makeRow(pipeline, manifest, event);
  if (!(row instanceof MillraceError)) return row;
  throw new MillraceError(
    'MODEL_REFUSED',
    `${manifest.name} ${manifest.version} can't score a sample event of ${pipeline.name}: ${row.message}`,
  );
}
