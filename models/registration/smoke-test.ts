import { stat } from 'node:fs/promises';
import { join, resolve as toAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';
import type { ModelOutput } from '../outputs.js';
import type { ModelRow } from '../tensors.js';
import { memoryLimit, type ProcessLimits, runLimited } from './limited-process.js';

/** Test of one version. */
export interface Trial {
  folder: string;
  /** Sample rows, for `predict`. */
  rows: readonly ModelRow[];
}

/** Request to the test process: it runs the trials one after the other. */
export interface Trials {
  trials: readonly Trial[];
}

/** Result of one trial. */
export type Verdict = { outputs: ModelOutput[] } | { code: ErrorCode; message: string };

const program = fileURLToPath(new URL('./smoke-test-process.js', import.meta.url));

/** Default time limit of one trial, milliseconds. */
const trialTimeoutMs = 60_000;

/**
 * Loads a version, which verifies its golden rows, and scores rows with it, in a separate process: see
 * {@link runLimited}.
 *
 * @returns the answers for the rows.
 * @throws MillraceError `MODEL_REFUSED`, and as loading and scoring.
 */
export async function smokeTest(trial: Trial, limits: ProcessLimits = {}): Promise<ModelOutput[]> {
  const [result] = await runTrials([trial], limits);
  if (result instanceof MillraceError) throw result;
  return result ?? [];
}

/**
 * Loads versions as {@link smokeTest} does, all in one process. Only if that process dies, each gets its own.
 *
 * @returns for each folder why its version can't be loaded, if it can't: what {@link smokeTest} throws.
 */
export async function smokeTestAll(
  folders: readonly string[],
  limits: ProcessLimits = {},
): Promise<unknown[]> {
  try {
    const results = await runTrials(
      folders.map((folder) => ({ folder, rows: [] })),
      limits,
    );
    return results.map((result) => (result instanceof MillraceError ? result : undefined));
  } catch (error) {
    if (folders.length === 1) return [error];
  }
  const results: unknown[] = [];
  for (const folder of folders) results.push(...(await smokeTestAll([folder], limits)));
  return results;
}

async function runTrials(
  trials: readonly Trial[],
  limits: ProcessLimits,
): Promise<(ModelOutput[] | MillraceError)[]> {
  const sizes = await Promise.all(trials.map(async ({ folder }) => stat(join(folder, 'model.onnx'))));
  const graphBytes = Math.max(...sizes.map(({ size }) => size));
  const request: Trials = { trials: trials.map((trial) => ({ ...trial, folder: toAbsolute(trial.folder) })) };
  const timeoutMs = (limits.timeoutMs ?? trialTimeoutMs) * trials.length;
  const verdicts = await runLimited<Verdict[]>({ program, request, graphBytes }, { ...limits, timeoutMs });
  const limit = memoryLimit(graphBytes, limits.memoryMb);
  return verdicts.map((verdict) => {
    if ('outputs' in verdict) return verdict.outputs;
    const wantsMemory = /bad_alloc|allocate memory|out of memory/i.test(verdict.message);
    return new MillraceError(verdict.code, wantsMemory ? `${verdict.message}. ${limit}.` : verdict.message);
  });
}
