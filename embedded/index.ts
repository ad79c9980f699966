export { startKafka } from './kafka/start.js';
export type { EmbeddedKafka, EmbeddedKafkaOptions } from './kafka/start.js';
