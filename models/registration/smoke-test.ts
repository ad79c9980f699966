import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve as toAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';

/** What the process that tries a version is told. */
export interface Trial {
  folder: string;
  /** Row-major, for `predict`. */
  rows: Float32Array;
  count: number;
}

/** What it answers. */
export type Verdict = { scores: number[] } | { code: ErrorCode; message: string };

const program = fileURLToPath(new URL('./smoke-test-process.js', import.meta.url));

export interface TrialLimits {
  /** Default 60,000. */
  timeoutMs?: number;
  /** Memory that the trial may take beyond {@link graphCopies} of the graph, MiB. Default 512. */
  memoryMb?: number;
}

/** Copies of a graph that loading it takes at the same time: of the file, the thread, and onnxruntime's own. */
const graphCopies = 6;

/** Prints what a process with one thread has mapped, KiB, before it does anything; 0 where there is no /proc. */
const measureReserved = `
const { Worker } = require('node:worker_threads');
const { existsSync, readFileSync } = require('node:fs');
const worker = new Worker('setInterval(() => undefined, 1000)', { eval: true });
worker.once('online', () => {
  const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : '';
  console.log(/^VmData:\\s+(\\d+)/m.exec(status)?.[1] ?? 0);
  process.exit();
});`;
let reservedKb: Promise<number> | undefined;

/**
 * Loads a version, which proves it on its golden rows, and scores rows with it, in a process of its own: a graph that
 * never ends, takes all memory or crashes onnxruntime must not take down the process that serves. The process begins in
 * an empty folder, since onnxruntime reads files relative to it, and has limits of time and memory (`RLIMIT_DATA`, which
 * Linux applies to all memory that is written to; macOS has no such limit).
 *
 * @returns the scores of the rows.
 * @throws MillraceError `MODEL_REFUSED`, and what loading and scoring throw.
 */
export async function smokeTest(
  { folder, rows, count }: Trial,
  { timeoutMs = 60_000, memoryMb = 512 }: TrialLimits = {},
): Promise<number[]> {
  const graph = await stat(join(folder, 'model.onnx'));
  const allowedKb = memoryMb * 1024 + Math.ceil((graphCopies * graph.size) / 1024);
  const limit = `A trial may take ${Math.floor(allowedKb / 1024)} MiB of memory for a graph of this size (MODEL_TRIAL_MEMORY_MB)`;
  reservedKb ??= reserved();
  const limitKb = allowedKb + (await reservedKb);
  const cwd = await mkdtemp(join(dirname(folder), 'trial-'));
  const child = spawn(
    '/bin/sh',
    ['-c', 'ulimit -d "$0"; exec "$@"', String(limitKb), process.execPath, program],
    {
      cwd,
      // It needs no setting, and the secrets among them are no business of a graph's.
      env: { PATH: process.env['PATH'] ?? '' },
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    },
  );
  let timer: NodeJS.Timeout | undefined;
  try {
    const verdict = await new Promise<Verdict>((resolve, reject) => {
      timer = setTimeout(() => {
        reject(refused(`it was not loaded and tried in ${timeoutMs / 1000} s`));
      }, timeoutMs);
      child.once('message', (message) => resolve(message as Verdict));
      child.once('error', reject);
      child.once('exit', (exitCode, signal) => {
        const how = signal ?? `exit code ${exitCode}`;
        reject(
          refused(`the process that tried it ended (${how}), which may be for want of memory. ${limit}`),
        );
      });
      child.send(
        { folder: toAbsolute(folder), rows, count } satisfies Trial,
        (error) => error && reject(error),
      );
    });
    if ('scores' in verdict) return verdict.scores;
    const wantsMemory = /bad_alloc|allocate memory|out of memory/i.test(verdict.message);
    throw new MillraceError(verdict.code, wantsMemory ? `${verdict.message}. ${limit}.` : verdict.message);
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await rm(cwd, { recursive: true, force: true });
  }
}

/** V8 reserves memory that it may never touch (1 GiB in Node 24, 60 MiB in Node 22), and the limit counts that too. */
async function reserved(): Promise<number> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', measureReserved], { env: {} });
    return Number(stdout);
  } catch (error) {
    reservedKb = undefined;
    throw error;
  }
}

function refused(problem: string): MillraceError {
  return new MillraceError('MODEL_REFUSED', `The model is refused: ${problem}. Export it again.`);
}
