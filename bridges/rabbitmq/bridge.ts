import { Gauge } from 'prom-client';
import { EventAcceptor } from '../../processors/events/accept-events.js';
import type { Config } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import { tlsOptions } from '../../platform/tls-settings.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import {
  parseBindings,
  parseQueueMappings,
  parseResultsQueues,
  type QueueMapping,
} from '../../platform/rabbitmq-settings.js';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Consumption } from '../../streams/consumption.js';
import { RestartableConsumption } from '../../streams/restartable-consumption.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { type BridgeStatus, RabbitConnection } from './connection.js';
import { MessageIngestion } from './message-ingestion.js';
import { FailedMessages } from './failed-messages.js';
import { InboundQueue } from './inbound-queue.js';
import { followLedgers } from './ledger.js';
import { Outbound } from './outbound.js';
import { Publisher } from './publisher.js';
import { ResultsQueues } from './results-queues.js';
import { OwnBindings } from './own-bindings.js';
import { bindingOf, deadLettersQueue, ensureDeadLetters, resultsBindingOf } from './topology.js';

/** Consumer group of the topics that are published to RabbitMQ. */
export const bridgeGroup = 'millrace-rabbitmq';

export interface BridgeOptions {
  url: string;
  config: Config;
  streams: Streams;
  serde: Serde;
  pipelines: Pipelines;
  metrics: Metrics;
  logger: Logger;
}

/** Moves events from RabbitMQ's queues to the log, and predictions from the log to RabbitMQ. */
export interface Bridge {
  connections(): BridgeStatus[];
  /** Input and output queues, by their names in the readiness report. */
  parts: ReadonlyMap<string, () => BridgeStatus>;
  results: RestartableConsumption;
  /** Topics of its results: those of the present pipelines. */
  resultTopics(): string[];
  /** Stops consuming, finishes the work in flight, and disconnects. */
  stop(): Promise<void>;
}

/** Time limit for finishing the work in flight, milliseconds. */
const drainMs = 5_000;

/**
 * Starts the bridge. RabbitMQ may be unavailable at that time.
 *
 * @throws MillraceError `CONFIG_INVALID` for a queue with an unknown pipeline, and for a binding of a queue
 *   that is not read.
 */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const { url, config, streams, metrics, logger, pipelines } = options;
  const mappings = queueMappings(config, pipelines);
  const bindings = parseBindings(config.RABBITMQ_BINDINGS);
  checkBindings(bindings, mappings);
  // RabbitMQ blocks publishing connections when it is short of memory; acknowledgements must not be blocked.
  const tls = tlsOptions(config, 'RABBITMQ');
  const reading = mappings.map(
    // One connection per queue, so that queues do not interrupt each other. The first one reports RabbitMQ's
    // outages for all.
    ({ queue }, index) =>
      new RabbitConnection({ url, tls, name: `millrace in ${queue}`, logger, quiet: index > 0 }),
  );
  const writing = new RabbitConnection({
    url,
    tls,
    name: 'millrace out',
    logger,
    quiet: true,
    onConnect: () => prepare(),
  });
  const onUnconfirmed = (count: number): void => metrics.rabbitUnconfirmed.inc(count);
  const producer = await streams.createProducer();
  const acceptor = new EventAcceptor({ ...options, producer });
  const states = await followLedgers(streams);
  const queues = mappings.map(({ queue, pipeline }, index) => {
    const failed = new FailedMessages(writing, new Publisher(writing, onUnconfirmed), queue, {
      firstDelayMs: config.RABBITMQ_RETRY_DELAY_MS,
    });
    const inbound = new InboundQueue({
      queue,
      bindings: bindings.filter((binding) => binding.queue === queue),
      connection: reading[index] ?? writing,
      streams,
      states,
      ingestion: new MessageIngestion({
        queue,
        name: pipeline,
        pipeline: () => pipelines.find(pipeline),
        acceptor,
        failed,
        metrics,
      }),
      failed,
      requireOpen: () => void pipelines.find(pipeline),
      prefetch: config.RABBITMQ_PREFETCH,
      retryLimit: config.RABBITMQ_RETRY_LIMIT,
      metrics,
      logger,
    });
    return [queue, inbound] as const;
  });
  const resultsQueues = new ResultsQueues({
    queues: parseResultsQueues(config.RABBITMQ_RESULTS_QUEUES),
    connection: writing,
    publisher: new Publisher(writing, onUnconfirmed),
    retryLimit: config.RABBITMQ_RETRY_LIMIT,
    retryDelayMs: config.RABBITMQ_RETRY_DELAY_MS,
    metrics,
    logger,
  });
  const outbound = new Outbound({
    ...options,
    prediction: loadContract('shared', 'prediction'),
    resultsQueues,
    connection: writing,
    publisher: new Publisher(writing, onUnconfirmed),
  });
  const wanted = [
    ...bindings.flatMap((binding) => bindingOf(binding) ?? []),
    ...parseResultsQueues(config.RABBITMQ_RESULTS_QUEUES).map(resultsBindingOf),
  ];
  const ownBindings = await OwnBindings.open({ streams, producer, url, wanted, logger });
  // Before the first message: programs may bind their queues only to exchanges that exist.
  const prepare = async (): Promise<void> => {
    await ownBindings.removeStale(writing);
    await outbound.prepare();
    await ensureDeadLetters(writing);
  };
  const results = await RestartableConsumption.start(() =>
    streams.consume({
      groupId: bridgeGroup,
      topics: outbound.topics,
      sessionTimeoutMs: config.KAFKA_SESSION_TIMEOUT_MS,
      handle: (records) => outbound.publish(records),
      maxWaitMs: 5,
    }),
  );
  const watched = [...mappings.map(({ queue }) => queue), deadLettersQueue, ...resultsQueues.names];
  const depth = watchDepth(metrics, reading[0] ?? writing, [...new Set(watched)]);
  return {
    connections: () => [...reading, writing].map((connection) => connection.status()),
    parts: new Map([
      ...queues.map(([queue, inbound]) => [`rabbitmq queue ${queue}`, () => inbound.status()] as const),
      ...resultsQueues.parts,
    ]),
    results,
    resultTopics: () => outbound.topics,
    stop: async () => {
      metrics.registry.removeSingleMetric(depth);
      await drain(
        queues.map(([, inbound]) => inbound),
        results,
        resultsQueues,
        [...reading, writing],
      );
      await states.stop();
      await producer.close();
    },
  };
}

/** While RabbitMQ is down, confirms never arrive. Closing the connections ends the wait for them. */
async function drain(
  queues: readonly InboundQueue[],
  results: Consumption,
  resultsQueues: ResultsQueues,
  connections: readonly RabbitConnection[],
): Promise<void> {
  const closeAll = async (): Promise<void> =>
    void (await Promise.all(connections.map((connection) => connection.close())));
  const late = setTimeout(() => void closeAll(), drainMs);
  if (!connections.every((connection) => connection.status().ok)) await closeAll();
  await Promise.all([
    ...queues.map((queue) => queue.stop()),
    results.stop().then(() => resultsQueues.stop()),
  ]);
  clearTimeout(late);
  await closeAll();
}

function queueMappings(config: Config, { names }: Pipelines): QueueMapping[] {
  const mappings = parseQueueMappings(config.RABBITMQ_QUEUES);
  const unknown = mappings.find(({ pipeline }) => !names.includes(pipeline));
  if (unknown === undefined) return mappings;
  throw new MillraceError(
    'CONFIG_INVALID',
    `RABBITMQ_QUEUES: the queue ${unknown.queue} is for ${unknown.pipeline}, and there is no such pipeline. There are ${names.join(', ')}.`,
  );
}

function checkBindings(bindings: readonly { queue: string }[], mappings: readonly QueueMapping[]): void {
  const stray = bindings.find(({ queue }) => !mappings.some((mapping) => mapping.queue === queue));
  if (stray === undefined) return;
  throw new MillraceError(
    'CONFIG_INVALID',
    `RABBITMQ_BINDINGS binds the queue ${stray.queue}, which RABBITMQ_QUEUES does not name: nobody would read it.`,
  );
}

const depthMetric = 'millrace_rabbitmq_queue_messages';

/** Number of messages waiting in each queue, queried at each scrape. */
function watchDepth(metrics: Metrics, connection: RabbitConnection, queues: readonly string[]): string {
  const gauge = new Gauge({
    name: depthMetric,
    help: 'Messages that wait in a queue of RabbitMQ and are not delivered yet.',
    labelNames: ['queue'] as const,
    registers: [metrics.registry],
    collect: async () => {
      gauge.reset();
      if (!connection.status().ok) return;
      const asked = queues.map(async (queue) => {
        const { messageCount } = await connection.use((channel) => channel.checkQueue(queue));
        gauge.set({ queue }, messageCount);
      });
      // A missing queue has no value.
      await Promise.allSettled(asked);
    },
  });
  return depthMetric;
}
