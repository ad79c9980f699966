import { startKafka } from '../../../embedded/kafka/start.js';

/** The embedded broker and registry in a process of their own, to be killed apart from what uses them. */
await startKafka({
  dataDir: process.env['DATA_DIR'] ?? '',
  port: Number(process.env['KAFKA_PORT']),
  registryPort: Number(process.env['SCHEMA_REGISTRY_PORT']),
  defaultPartitions: 3,
  logLevel: 'warn',
});
