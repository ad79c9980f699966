import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve as toAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { atMost } from '../../platform/backoff.js';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';

/** Request to the test process. */
export interface Trial {
  folder: string;
  /** Row-major, for `predict`. */
  rows: Float32Array;
  count: number;
}

/** Response of the test process. */
export type Verdict = { scores: number[] } | { code: ErrorCode; message: string };

/** Nothing delays the end of a killed process but a hanging disk. */
const exitTimeoutMs = 5_000;
const program = fileURLToPath(new URL('./smoke-test-process.js', import.meta.url));

export interface TrialLimits {
  /** Default 60,000. */
  timeoutMs?: number;
  /** Memory for the test in addition to {@link graphCopies} of the graph, in MiB. Default 512. */
  memoryMb?: number;
}

/** Concurrent copies of a graph during loading: of the file, of the thread, and in onnxruntime. */
const graphCopies = 6;

/** Prints the mapped memory of an idle process with one thread, in KiB, or 0 without /proc. */
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
 * Loads a version, which verifies its golden rows, and scores rows with it, in a separate process: a graph that never
 * ends, exhausts memory or crashes onnxruntime must not affect the serving process. The process runs in an empty folder,
 * since onnxruntime resolves files relative to it, with limits of time and memory (`RLIMIT_DATA`, which Linux applies to
 * all writable memory; macOS has no such limit).
 *
 * @returns the scores of the rows.
 * @throws MillraceError `MODEL_REFUSED`, and as loading and scoring.
 */
export async function smokeTest(
  { folder, rows, count }: Trial,
  { timeoutMs = 60_000, memoryMb = 512 }: TrialLimits = {},
): Promise<number[]> {
  const graph = await stat(join(folder, 'model.onnx'));
  const allowedKb = memoryMb * 1024 + Math.ceil((graphCopies * graph.size) / 1024);
  const limit = `A test of a graph of this size may take ${Math.floor(allowedKb / 1024)} MiB of memory (MODEL_TRIAL_MEMORY_MB)`;
  reservedKb ??= reserved();
  const limitKb = allowedKb + (await reservedKb);
  const cwd = await mkdtemp(join(dirname(folder), 'trial-'));
  const child = spawn(
    '/bin/sh',
    ['-c', 'ulimit -d "$0"; exec "$@"', String(limitKb), process.execPath, program],
    {
      cwd,
      // The process needs no settings, and a graph must not see secrets.
      env: { PATH: process.env['PATH'] ?? '' },
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    },
  );
  let timer: NodeJS.Timeout | undefined;
  try {
    const verdict = await new Promise<Verdict>((resolve, reject) => {
      timer = setTimeout(() => {
        reject(refused(`it was not loaded and tested within ${timeoutMs / 1000} s`));
      }, timeoutMs);
      child.once('message', (message) => resolve(message as Verdict));
      child.once('error', reject);
      child.once('exit', (exitCode, signal) => {
        const how = signal ?? `exit code ${exitCode}`;
        reject(refused(`the test process ended (${how}), possibly for lack of memory. ${limit}`));
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
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      // Its memory is free when the answer comes.
      await atMost(exitTimeoutMs, exited);
    }
    await rm(cwd, { recursive: true, force: true });
  }
}

/** V8 reserves memory that it may never use (1 GiB in Node 24, 60 MiB in Node 22). The limit counts it too. */
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
  return new MillraceError('MODEL_REFUSED', `The model was rejected: ${problem}. Export it again.`);
}
