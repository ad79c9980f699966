import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { KafkaBrokerOptions } from './broker.js';
import { deferred } from './deferred.js';

/** The options for the worker thread: all cloneable ones. */
export interface WorkerOptions extends Omit<KafkaBrokerOptions, 'logger' | 'clock'> {
  /** Level of the log lines: `silent`, `error`, `warn`, `info`, `debug` or `trace`. Default `silent`. */
  logLevel?: string;
  /** File for the log lines. Default: standard error. */
  logDestination?: string;
  /**
   * Also runs a schema registry with Confluent's REST API on this port. 0 takes a free port. Its schemas are
   * in the topic `_schemas`. Default: no registry.
   */
  registryPort?: number;
  /** Name of the setting for `registryPort`, for the error `PORT_IN_USE`. Default `registryPort`. */
  registryPortSetting?: string;
}

export type WorkerReport =
  | { kind: 'listening'; port: number; registryPort: number | undefined }
  | { kind: 'failed'; code: ErrorCode; message: string; retriable: boolean };

export interface EmbeddedKafkaOptions extends Omit<WorkerOptions, 'dataDir'> {
  /**
   * Folder for all data; created when missing. Only one broker at a time may use it. Default: a temporary
   * folder, which `stop()` removes.
   */
  dataDir?: string;
  /** Port of the Kafka API. Default 0: a free port. */
  port?: number;
  /** Called when the broker's thread fails after its start. Default: the error is thrown in this thread. */
  onCrash?: (error: MillraceError) => void;
}

export interface EmbeddedKafka {
  /** Addresses for Kafka clients: `['127.0.0.1:<port>']` by default. */
  brokers: string[];
  /** Port of the Kafka API. */
  port: number;
  /** Port of the schema registry; undefined without one. */
  registryPort: number | undefined;
  /** Address of the schema registry, such as `http://127.0.0.1:8081`; undefined without one. */
  registryUrl: string | undefined;
  /**
   * Resolves when every acknowledged record is on disk, the thread has ended and a temporary folder is
   * removed.
   */
  stop(): Promise<void>;
}

/**
 * Batches are outside the heap, in buffers that only its collection frees: a small heap is collected more
 * often.
 */
const resourceLimits = { maxYoungGenerationSizeMb: 4 };

/**
 * Starts a Kafka broker, and a schema registry if `registryPort` is given, in a worker thread. Resolves when
 * clients can connect.
 *
 * ```ts
 * const kafka = await startKafka({ registryPort: 0 });
 * const client = new Kafka({ brokers: kafka.brokers }); // any Kafka client
 * await kafka.stop();
 * ```
 *
 * @throws an error whose `code` is `PORT_IN_USE`, `LISTEN_FAILED`, `DATA_DIR_UNUSABLE`,
 *   `TLS_CERTIFICATE_UNUSABLE`, or `BROKER_FAILED` for anything else that fails at the start.
 */
export async function startKafka(options: EmbeddedKafkaOptions = {}): Promise<EmbeddedKafka> {
  if (options.dataDir !== undefined) return await startWorker({ ...options, dataDir: options.dataDir });
  const folder = await mkdtemp(join(tmpdir(), 'kafka-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const kafka = await startWorker({ ...options, dataDir: folder });
    const stop = async (): Promise<void> => {
      await kafka.stop();
      await remove();
    };
    return { ...kafka, stop };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function startWorker(options: EmbeddedKafkaOptions & { dataDir: string }): Promise<EmbeddedKafka> {
  const { onCrash = throwLater, ...given } = options;
  const workerData: WorkerOptions = { ...given, port: given.port ?? 0 };
  const worker = new Worker(new URL('./worker.js', import.meta.url), {
    workerData,
    resourceLimits,
    // Some of this process's flags, such as --input-type, prevent a worker from loading its file.
    execArgv: [],
  });
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
    const host = clientHost(workerData.host);
    return {
      brokers: [`${host}:${port}`],
      port,
      registryPort,
      registryUrl: registryPort === undefined ? undefined : `http://${host}:${registryPort}`,
      async stop() {
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker has no origin
        if (!stopping) worker.postMessage('stop');
        stopping = true;
        await gone.promise;
      },
    };
  } catch (error) {
    // The thread closes its broker and ends: nothing is written to its folder any more.
    await gone.promise;
    throw error;
  }
}

/** Returns the address for this machine's clients of a server that listens on `host`. */
function clientHost(host = '127.0.0.1'): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

function throwLater(error: MillraceError): void {
  queueMicrotask(() => {
    throw error;
  });
}
