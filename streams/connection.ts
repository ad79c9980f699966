import type { ConnectionOptions } from 'node:tls';
import type { Kafka, ISocketFactory, KafkaConfig, LogEntry } from 'kafkajs';
import type { Logger } from '../platform/logger.js';
import { kafkajs } from './kafkajs.js';

type SaslMechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512';

export type SaslSettings = {
  [M in SaslMechanism]: { mechanism: M; username: string; password: string };
}[SaslMechanism];

export interface StreamsSettings {
  /** `host:port` of some or all brokers. */
  brokers: string[];
  /** The name that brokers show for these connections. */
  clientId: string;
  logger: Logger;
  sasl?: SaslSettings;
  /** `true`, or Node's own TLS options (`ca`, `cert`, `key`, …). Default: no TLS. */
  tls?: boolean | ConnectionOptions;
  /** Replicas of each created topic. Default −1: the broker's own default. */
  replicationFactor?: number;
  /** How often a request is tried again. Default 20, which takes about 15 s. */
  retries?: number;
  /** How long a connection, and the answer to a request, may take, milliseconds. Default 5 s and 30 s. */
  timeoutMs?: number;
  /** How connections are made, for tests that cut them. Default: kafkajs' own way. */
  socketFactory?: ISocketFactory;
}

/**
 * kafkajs' entry object. Its retries last for about 15 s: longer than a group's session, so that a consumer comes
 * through a short outage as the member that it was (a new one waits until the old one's session has ended), and no
 * longer, because they can't be stopped, and the loops above them go on for as long as it takes.
 *
 * @param onProblem - told why a connection fails; it is tried again.
 */
export function createKafka(
  settings: StreamsSettings,
  onProblem: (problem: string) => void = () => undefined,
): Kafka {
  const { brokers, clientId, logger, sasl, tls, retries = 20, timeoutMs, socketFactory } = settings;
  const told = new Map<string, string>();
  const config: KafkaConfig = {
    brokers,
    clientId,
    connectionTimeout: timeoutMs ?? 5_000,
    requestTimeout: timeoutMs ?? 30_000,
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries },
    logLevel: kafkajs.logLevel.WARN,
    logCreator: () => (entry) => {
      if (entry.namespace === 'Connection' && entry.level <= kafkajs.logLevel.ERROR)
        onProblem(entry.log.message);
      const { namespace, log: details } = entry;
      log(logger, entry, told.get(namespace) === details.message);
      told.set(namespace, details.message);
    },
  };
  if (sasl) config.sasl = sasl;
  if (tls !== undefined) config.ssl = tls;
  if (socketFactory) config.socketFactory = socketFactory;
  return new kafkajs.Kafka(config);
}

/**
 * Everything that kafkajs calls an error is either handled above it, and logged there, or comes out as a rejection.
 *
 * @param again - whether it said just that before: each try to connect does.
 */
function log(
  logger: Logger,
  { level, namespace, log: { message, timestamp: _time, ...details } }: LogEntry,
  again: boolean,
): void {
  if (level <= kafkajs.logLevel.ERROR && !again) logger.info({ kafkajs: namespace, ...details }, message);
  else logger.debug({ kafkajs: namespace, ...details }, message);
}
