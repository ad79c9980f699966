import { startSchemaRegistry } from '../../../embedded/schema-registry/server.js';
import { TopicLog } from '../../../app/schema-registry-topic.js';
import { createLogger } from '../../../platform/logger.js';
import { createStreams } from '../../../streams/streams.js';

/** Runs the embedded registry on an external Kafka, in a separate process. */
const logger = createLogger('warn');
const brokers = (process.env['KAFKA_BROKERS'] ?? '').split(',');
const log = new TopicLog(createStreams({ brokers, clientId: 'schema-registry', logger }));
await startSchemaRegistry({
  host: '127.0.0.1',
  port: Number(process.env['SCHEMA_REGISTRY_PORT']),
  log,
  logger,
});
