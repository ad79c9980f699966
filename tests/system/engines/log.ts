import { startKafka } from '../../../embedded/kafka/start.js';

/**
 * Runs the embedded broker and registry in a separate process, which can be killed independently of their
 * clients.
 */
await startKafka({
  dataDir: process.env['DATA_DIR'] ?? '',
  port: Number(process.env['KAFKA_PORT']),
  registryPort: Number(process.env['SCHEMA_REGISTRY_PORT']),
  defaultPartitions: 3,
  logLevel: 'warn',
});
