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
  /** The client name that brokers show for these connections. */
  clientId: string;
  logger: Logger;
  sasl?: SaslSettings;
  /** `true`, or Node's own TLS options (`ca`, `cert`, `key`, …). Default: no TLS. */
  tls?: boolean | ConnectionOptions;
  /** Replicas of each created topic. Default −1: the broker's own default. */
  replicationFactor?: number;
  /** Maximum retries of a request. Default 20, which takes about 15 s. */
  retries?: number;
  /** Timeouts of a connection, and of the answer to a request, milliseconds. Default 5 s and 30 s. */
  timeoutMs?: number;
  /** Creates connections, for tests that cut them. Default: kafkajs' own way. */
  socketFactory?: ISocketFactory;
}

/**
 * Creates kafkajs' entry object. Its retries last for about 15 s. That is longer than a group's session, so
 * that a consumer survives a short outage with its membership (a new member waits until the old one's session
 * has ended). It is not longer, because retries can't be stopped, and the loops above them retry for as long
 * as it takes.
 *
 * @param onProblem - called with the reason when a connection fails; it is retried.
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
 * Handles a kafkajs log line. Each of its errors is either handled and logged above it, or becomes a
 * rejection.
 *
 * @param again - whether the line repeats the last one, as each attempt to connect does.
 */
function log(
  logger: Logger,
  { level, namespace, log: { message, timestamp: _time, ...details } }: LogEntry,
  again: boolean,
): void {
  if (level <= kafkajs.logLevel.ERROR && !again) logger.info({ kafkajs: namespace, ...details }, message);
  else logger.debug({ kafkajs: namespace, ...details }, message);
}
