import { Worker } from 'node:worker_threads';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { KafkaBrokerOptions } from './broker.js';
import { deferred } from './deferred.js';

/** What crosses to the worker thread: everything that can be copied. */
export interface WorkerOptions extends Omit<KafkaBrokerOptions, 'logger' | 'clock'> {
  /** pino's level. Default `silent`. */
  logLevel?: string;
  /** A file’s path. Default: standard error. */
  logDestination?: string;
  /** Also runs the schema registry, on this port; 0 takes a free one. Its schemas are in the topic `_schemas`. */
  registryPort?: number;
}

export type WorkerReport =
  | { kind: 'listening'; port: number; registryPort: number | undefined }
  | { kind: 'failed'; code: ErrorCode; message: string; retriable: boolean };

export interface EmbeddedKafkaOptions extends WorkerOptions {
  /** Called when the broker's thread dies by itself after it was up. Default: the error is thrown in this thread. */
  onCrash?: (error: MillraceError) => void;
}

export interface EmbeddedKafka {
  port: number;
  /** Of the schema registry; undefined when none was asked for. */
  registryPort: number | undefined;
  /** Resolves when everything that was acknowledged is on disk and the thread is gone. */
  stop(): Promise<void>;
}

/** Batches live outside the heap, in buffers that only its collection frees: a small one is collected more often. */
const resourceLimits = { maxYoungGenerationSizeMb: 4 };

/**
 * Runs the broker in a worker thread of its own; resolves when clients can connect.
 *
 * @throws MillraceError `PORT_IN_USE`, `LISTEN_FAILED`, `DATA_DIR_UNUSABLE`, or `BROKER_FAILED` with what went wrong while it came up.
 */
export async function startKafka(options: EmbeddedKafkaOptions): Promise<EmbeddedKafka> {
  const { onCrash = throwLater, ...workerData } = options;
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData, resourceLimits });
  const up = deferred<{ port: number; registryPort: number | undefined }>();
  const gone = deferred<void>();
  let listening = false;
  let stopping = false;
  let crash: unknown;
  worker.on('message', (report: WorkerReport) => {
    if (report.kind === 'failed') {
      up.reject(new MillraceError(report.code, report.message, { retriable: report.retriable }));
    } else {
      listening = true;
      up.resolve(report);
    }
  });
  worker.on('error', (error) => (crash = error));
  worker.on('exit', (exitCode) => {
    gone.resolve();
    const why = crash === undefined ? `exit code ${exitCode}` : messageOf(crash);
    const error = new MillraceError('BROKER_FAILED', `The embedded Kafka broker's thread ended: ${why}.`, {
      cause: crash,
    });
    if (!listening) up.reject(error);
    else if (!stopping) onCrash(error);
  });

  try {
    const { port, registryPort } = await up.promise;
    return {
      port,
      registryPort,
      async stop() {
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker has no origin
        if (!stopping) worker.postMessage('stop');
        stopping = true;
        await gone.promise;
      },
    };
  } catch (error) {
    await worker.terminate();
    throw error;
  }
}

function throwLater(error: MillraceError): void {
  queueMicrotask(() => {
    throw error;
  });
}
