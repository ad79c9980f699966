import { stat } from 'node:fs/promises';
import { join, resolve as toAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';
import type { ModelOutput } from '../outputs.js';
import type { ModelRow } from '../tensors.js';
import { memoryLimit, type ProcessLimits, runLimited } from './limited-process.js';

/** Request to the test process. */
export interface Trial {
  folder: string;
  /** Sample rows, for `predict`. */
  rows: readonly ModelRow[];
}

/** Response of the test process. */
export type Verdict = { outputs: ModelOutput[] } | { code: ErrorCode; message: string };

const program = fileURLToPath(new URL('./smoke-test-process.js', import.meta.url));

/**
 * Loads a version, which verifies its golden rows, and scores rows with it, in a separate process: see
 * {@link runLimited}.
 *
 * @returns the answers for the rows.
 * @throws MillraceError `MODEL_REFUSED`, and as loading and scoring.
 */
export async function smokeTest({ folder, rows }: Trial, limits: ProcessLimits = {}): Promise<ModelOutput[]> {
  const { size: graphBytes } = await stat(join(folder, 'model.onnx'));
  const request: Trial = { folder: toAbsolute(folder), rows };
  const verdict = await runLimited<Verdict>({ program, request, graphBytes }, limits);
  if ('outputs' in verdict) return verdict.outputs;
  const wantsMemory = /bad_alloc|allocate memory|out of memory/i.test(verdict.message);
  const limit = memoryLimit(graphBytes, limits.memoryMb);
  throw new MillraceError(verdict.code, wantsMemory ? `${verdict.message}. ${limit}.` : verdict.message);
}
