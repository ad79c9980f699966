import { stat } from 'node:fs/promises';
import { dirname, join, resolve as toAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';
import { memoryLimit, type ProcessLimits, runLimited } from './limited-process.js';

/** Request to the test process. */
export interface Trial {
  folder: string;
  /** Row-major, for `predict`. */
  rows: Float32Array;
  count: number;
}

/** Response of the test process. */
export type Verdict = { scores: number[] } | { code: ErrorCode; message: string };

const program = fileURLToPath(new URL('./smoke-test-process.js', import.meta.url));

/**
 * Loads a version, which verifies its golden rows, and scores rows with it, in a separate process: see
 * {@link runLimited}.
 *
 * @returns the scores of the rows.
 * @throws MillraceError `MODEL_REFUSED`, and as loading and scoring.
 */
export async function smokeTest(
  { folder, rows, count }: Trial,
  limits: ProcessLimits = {},
): Promise<number[]> {
  const { size: graphBytes } = await stat(join(folder, 'model.onnx'));
  const request: Trial = { folder: toAbsolute(folder), rows, count };
  const verdict = await runLimited<Verdict>({ program, request, graphBytes, near: dirname(folder) }, limits);
  if ('scores' in verdict) return verdict.scores;
  const wantsMemory = /bad_alloc|allocate memory|out of memory/i.test(verdict.message);
  const limit = memoryLimit(graphBytes, limits.memoryMb);
  throw new MillraceError(verdict.code, wantsMemory ? `${verdict.message}. ${limit}.` : verdict.message);
}
