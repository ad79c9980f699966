import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MillraceError } from '../../platform/errors.js';

/** What the process that tries a version is told. */
export interface Trial {
  folder: string;
  /** Row-major, for `predict`. */
  rows: Float32Array;
  count: number;
}

/** What it answers. */
export type Verdict = { scores: number[] } | { code: string; message: string; retriable: boolean };

const program = fileURLToPath(new URL('./prove-process.js', import.meta.url));

/**
 * Loads a version, which proves it on its golden rows, and scores rows with it, in a process of its own: a graph that
 * never ends, takes all memory or crashes onnxruntime must not take down the process that serves.
 *
 * @returns the scores of the rows.
 * @throws MillraceError `MODEL_REFUSED`, and what loading and scoring throw.
 */
export async function prove(
  { folder, rows, count }: Trial,
  { timeoutMs = 60_000 }: { timeoutMs?: number } = {},
): Promise<number[]> {
  const child = fork(program, {
    execArgv: [],
    // It needs no setting, and the secrets among them are no business of a graph's.
    env: { PATH: process.env['PATH'] ?? '' },
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const verdict = await new Promise<Verdict>((resolve, reject) => {
      timer = setTimeout(() => {
        reject(refused(`it was not loaded and tried in ${timeoutMs / 1000} s`));
      }, timeoutMs);
      child.once('message', (message) => resolve(message as Verdict));
      child.once('error', reject);
      child.once('exit', (exitCode, signal) => {
        reject(refused(`the process that tried it ended (${signal ?? `exit code ${exitCode}`})`));
      });
      child.send({ folder, rows, count } satisfies Trial, (error) => error && reject(error));
    });
    if ('scores' in verdict) return verdict.scores;
    throw new MillraceError(verdict.code, verdict.message, { retriable: verdict.retriable });
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
  }
}

function refused(problem: string): MillraceError {
  return new MillraceError('MODEL_REFUSED', `The model is refused: ${problem}. Export it again.`);
}
