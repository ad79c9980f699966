import { parentPort, workerData } from 'node:worker_threads';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { createLogger } from '../../platform/logger.js';
import { KafkaBroker } from './broker.js';
import type { WorkerOptions, WorkerReport } from './start.js';

const { logLevel, logDestination, ...options }: WorkerOptions = workerData;
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker's port has no origin
const report = (message: WorkerReport): void => parentPort?.postMessage(message);

try {
  const broker = new KafkaBroker({ ...options, logger: createLogger(logLevel ?? 'silent', logDestination) });
  const { port } = await broker.start();
  parentPort?.once('message', () => {
    void broker.stop().finally(() => parentPort?.close());
  });
  report({ kind: 'listening', port });
} catch (error) {
  const { code, retriable } =
    error instanceof MillraceError ? error : { code: 'BROKER_FAILED', retriable: false };
  report({ kind: 'failed', code, retriable, message: messageOf(error) });
}
