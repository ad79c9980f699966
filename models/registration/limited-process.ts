import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { atMost } from '../../platform/backoff.js';
import { MillraceError } from '../../platform/errors.js';

export interface ProcessLimits {
  /** Default 60,000. */
  timeoutMs?: number | undefined;
  /** Memory for the graph's work in addition to copies of the graph, in MiB. Default 512. */
  memoryMb?: number | undefined;
}

/** Signals of faults in native code. A lack of memory ends with others. */
const crashes: ReadonlySet<string> = new Set(['SIGFPE', 'SIGILL', 'SIGBUS']);

/** Nothing delays the end of a killed process but a hanging disk. */
const exitTimeoutMs = 5_000;

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

/** What a limited process does: a program of Millrace with a graph of someone else's. */
export interface LimitedTask {
  /** Path of the compiled program. It answers the first message with one message. */
  program: string;
  request: object;
  /** Size of the graph, in bytes. */
  graphBytes: number;
}

/**
 * Runs a program in a separate process: a graph that never ends, exhausts memory or crashes onnxruntime must
 * not affect this process. It runs in an empty folder, since onnxruntime resolves files relative to it, with
 * limits of time and memory (`RLIMIT_DATA`, which Linux applies to all writable memory; macOS has no such
 * limit).
 *
 * @returns the message of the program.
 * @throws MillraceError `MODEL_REFUSED` if it does not answer in time or dies.
 */
export async function runLimited<Answer>(
  { program, request, graphBytes }: LimitedTask,
  { timeoutMs = 60_000, memoryMb = 512 }: ProcessLimits = {},
): Promise<Answer> {
  reservedKb ??= reserved();
  const limitKb = allowedKb(graphBytes, memoryMb) + (await reservedKb);
  const cwd = await mkdtemp(join(tmpdir(), 'millrace-trial-'));
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
    return await new Promise<Answer>((resolve, reject) => {
      timer = setTimeout(() => {
        reject(refused(`it was not loaded and tested within ${timeoutMs / 1000} s`));
      }, timeoutMs);
      child.once('message', (message) => resolve(message as Answer));
      child.once('error', reject);
      child.once('exit', (exitCode, signal) => {
        if (signal !== null && crashes.has(signal))
          return reject(refused(`onnxruntime crashed (${signal}) while it tested the graph`));
        const how = signal ?? `exit code ${exitCode}`;
        const limit = memoryLimit(graphBytes, memoryMb);
        reject(refused(`the test process ended (${how}), possibly for lack of memory. ${limit}`));
      });
      child.send(request, (error) => error && reject(error));
    });
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

/** The memory limit of a graph, as the end of a message. */
export function memoryLimit(graphBytes: number, memoryMb = 512): string {
  const mb = Math.floor(allowedKb(graphBytes, memoryMb) / 1024);
  return `A test of a graph of this size may take ${mb} MiB of memory (MODEL_TRIAL_MEMORY_MB)`;
}

function allowedKb(graphBytes: number, memoryMb: number): number {
  return memoryMb * 1024 + Math.ceil((graphCopies * graphBytes) / 1024);
}

/**
 * V8 reserves memory that it may never use (1 GiB in Node 24, 60 MiB in Node 22). The limit counts it too.
 */
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
