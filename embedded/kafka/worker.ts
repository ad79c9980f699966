import { parentPort, workerData } from 'node:worker_threads';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { createLogger } from '../../platform/logger.js';
import type { RunningServer } from '../local-http.js';
import { KafkaBroker } from './broker.js';
import type { WorkerOptions, WorkerReport } from './start.js';

const {
  logLevel,
  logDestination,
  registryPort,
  registryPortSetting = 'registryPort',
  ...options
}: WorkerOptions = workerData;
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker's port has no origin
const report = (message: WorkerReport): void => parentPort?.postMessage(message);

const logger = createLogger(logLevel ?? 'silent', logDestination);
const broker = new KafkaBroker({ ...options, logger });
try {
  const { port } = await broker.start();
  const registry = registryPort === undefined ? undefined : await startRegistry(registryPort);
  parentPort?.once('message', () => {
    void Promise.resolve(registry?.stop())
      .then(() => broker.stop())
      .finally(() => parentPort?.close());
  });
  report({ kind: 'listening', port, registryPort: registry?.port });
} catch (error) {
  const { code, retriable, message } =
    error instanceof MillraceError ? error : new MillraceError('BROKER_FAILED', messageOf(error));
  report({ kind: 'failed', code, retriable, message });
  await broker.stop();
}

/** Loaded only when needed: it imports libraries that the broker alone does not use. */
async function startRegistry(port: number): Promise<RunningServer> {
  const { startSchemaRegistry } = await import('../schema-registry/server.js');
  return await startSchemaRegistry({
    host: options.host ?? '127.0.0.1',
    port,
    portSetting: registryPortSetting,
    log: broker.localLog('_schemas'),
    logger,
  });
}
