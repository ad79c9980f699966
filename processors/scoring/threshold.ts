import type { ModelManifest } from '../../models/manifest.js';

/**
 * Returns the label of a score, by the threshold in the model's `model.json` (`output.decision`).
 *
 * @returns `null` for a model that doesn't classify.
 */
export function labelOf({ decision }: ModelManifest['output'], score: number): string | null {
  if (decision === undefined) return null;
  return score >= decision.threshold ? decision.at_or_above : decision.below;
}
