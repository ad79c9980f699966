/**
 * The package `millrace/testing`: tests of pipelines, without a log, a database or a server.
 *
 * @packageDocumentation
 */
import { resolve } from 'node:path';
import type { ServedVersion } from '../models/lifecycle/served-version.js';
import type { ModelOutput } from '../models/outputs.js';
import { openModel } from '../models/registry.js';
import { createModelRuntime } from '../models/runtime.js';
import { MillraceError } from '../platform/errors.js';
import { silentLogger } from '../platform/logger.js';
import { createMetrics } from '../platform/metrics.js';
import { openEnvelope } from '../processors/events/envelope.js';
import { loadPipeline, modelsFolder } from '../processors/pipelines/load-pipelines.js';
import { recordKey } from '../processors/pipelines/pipeline.js';
import { modelsOf } from '../processors/scoring/model-router.js';
import { Scorer } from '../processors/scoring/scorer.js';

export type { OutputValue } from '../models/outputs.js';

/** A prediction for an event: its score, its label, and all outputs of the model by name. */
export interface TestedPrediction extends ModelOutput {
  /** The model that the event was scored with. */
  model: string;
  /** Its version: the newest in the project's folder. */
  model_version: string;
}

export interface ScorePipelineOptions {
  /** Folder of the project. Default: `MILLRACE_PROJECT`, or the working directory. */
  project?: string;
}

/**
 * Scores events as Millrace does, with the newest versions in the project's `models/`: the contract is
 * checked, the model selected, its inputs made, and its golden rows proven.
 *
 * A call takes about a second, since it loads the models. So give one call many events.
 *
 * @param name - of a pipeline in the project.
 * @param events - one event, or a list: as JSON that a client would send, also with `event_id` and
 *   `event_time`.
 * @returns the prediction for the event; for a list one for each, in their order.
 * @throws MillraceError as for a client, with its `code`: `EVENT_INVALID`, `FEATURES_INVALID`, `MODEL_FAILED`
 *   or `OUTPUT_INVALID` for the first event that can't be scored; `PIPELINE_INVALID`, `CONTRACT_INVALID`,
 *   `MODEL_INVALID`, `MODEL_REFUSED` or `MODEL_NOT_FOUND` for the project.
 */
export async function scorePipeline(
  name: string,
  events: readonly object[],
  options?: ScorePipelineOptions,
): Promise<TestedPrediction[]>;
export async function scorePipeline(
  name: string,
  event: object,
  options?: ScorePipelineOptions,
): Promise<TestedPrediction>;
export async function scorePipeline(
  name: string,
  events: object | readonly object[],
  { project = process.env['MILLRACE_PROJECT'] ?? '.' }: ScorePipelineOptions = {},
): Promise<TestedPrediction | TestedPrediction[]> {
  const folder = resolve(project);
  const { pipeline, contract } = await loadPipeline(folder, name);
  const runtime = createModelRuntime();
  try {
    const versions = new Map<string, ServedVersion>();
    for (const model of modelsOf(pipeline)) {
      const newest = await openModel(modelsFolder(folder), model);
      versions.set(model, (await runtime.load(newest.folder)) as unknown as ServedVersion);
    }
    const scorer = new Scorer({
      pipeline,
      contract: contract.schema,
      served: { get: (model) => ({ champion: aliasOf(versions, model), challenger: undefined }) },
      metrics: createMetrics(),
      logger: silentLogger,
    });
    const many = Array.isArray(events);
    const bodies: readonly unknown[] = Array.isArray(events) ? events : [events];
    const opened = bodies.map((body, index) => {
      const event = openEnvelope(body, scorer);
      if (event instanceof MillraceError) throw many ? placed(event, index) : event;
      return { fields: event.fields, key: recordKey(pipeline, event.fields, event.eventId ?? '') };
    });
    const predictions = (await scorer.score(opened)).map((score, index): TestedPrediction => {
      if (score instanceof MillraceError) throw many ? placed(score, index) : score;
      const { by, ...output } = score;
      return { ...output, model: by.manifest.name, model_version: by.manifest.version };
    });
    const [only] = predictions;
    if (many) return predictions;
    if (only === undefined) throw new Error('unreachable: one event has one prediction');
    return only;
  } finally {
    await runtime.close();
  }
}

function aliasOf(versions: ReadonlyMap<string, ServedVersion>, model: string) {
  const version = versions.get(model);
  if (version === undefined) throw new Error(`unreachable: ${model} is none of the pipeline's models`);
  return { version, event: -1, at: null };
}

/** Returns the error of one of several events: its message says which. */
function placed({ code, message, cause }: MillraceError, index: number): MillraceError {
  return new MillraceError(code, `Event ${index + 1}: ${message}`, { cause });
}
