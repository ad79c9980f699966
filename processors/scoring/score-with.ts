import { MillraceError } from '../../platform/errors.js';
import type { ServedAlias } from '../../models/lifecycle/served-models.js';
import type { ModelManifest } from '../../models/manifest.js';
import type { Prediction } from '../../schemas/types.js';
import { makeRow } from './features.js';
import type { Pipeline } from '../pipelines/pipeline.js';

export type Role = Prediction['role'];

/** The version that scored, and by which right. */
export interface ScoredBy {
  manifest: ModelManifest;
  role: Role;
  /** Offset of the alias event on `millrace.models`; -1 when it is not known. */
  event: number;
  /** When that event was made, milliseconds since 1970, UTC. */
  at: number | null;
}

/** What a model says of one event. */
export interface Score {
  score: number;
  /** The class that the score falls into; null for models that don't classify. */
  label: string | null;
  by: ScoredBy;
}

/**
 * Scores events with one version of a model, in their order: the only way from an event to a score. An event that can't be
 * scored gets the reason and does not trouble the others: `FEATURES_INVALID`, `MODEL_FAILED` or `OUTPUT_INVALID`.
 *
 * @throws MillraceError with `retriable` when the model can't run at the moment; no event is at fault then.
 */
export async function scoreWith(
  { version, event, at }: ServedAlias,
  role: Role,
  pipeline: Pipeline,
  events: readonly { fields: object }[],
): Promise<(Score | MillraceError)[]> {
  const { manifest } = version;
  const by: ScoredBy = { manifest, role, event, at };
  const features = events.map(({ fields }) => makeRow(pipeline, manifest, fields));
  const rows = features.filter((row) => Array.isArray(row));
  const outputs = (await version.predict(rows)).values();
  return features.map((row) => {
    if (!Array.isArray(row)) return row;
    const output = outputs.next().value;
    return typeof output === 'number' ? toScore(by, output) : (output ?? noOutput());
  });
}

function toScore(by: ScoredBy, output: number): Score | MillraceError {
  if (!Number.isFinite(output)) {
    return new MillraceError('OUTPUT_INVALID', `The model's output is ${output}, which is no score.`);
  }
  // JSON, and so the answer and the stored row, has no negative zero.
  const score = output + 0;
  const { decision } = by.manifest.output;
  if (decision === undefined) return { score, label: null, by };
  return { score, label: score >= decision.threshold ? decision.at_or_above : decision.below, by };
}

/** Of an event for which the model gave nothing at all. */
export function noOutput(): MillraceError {
  return new MillraceError('OUTPUT_INVALID', 'The model gave no output for this event.');
}
