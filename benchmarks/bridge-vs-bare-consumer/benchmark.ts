import { setTimeout as sleep } from 'node:timers/promises';
import { startBridge } from '../../bridges/rabbitmq/bridge.js';
import { loadConfig } from '../../platform/config.js';
import { silentLogger } from '../../platform/logger.js';
import { PipelineSet } from '../../processors/pipelines/pipeline-set.js';
import { createMetrics } from '../../platform/metrics.js';
import type { NewRecord } from '../../streams/records.js';
import { RabbitMq, rabbitMqInstalled } from '../../tests/system/engines/rabbitmq-server.js';
import { type BenchLog, openBenchLog } from '../bench-log.js';
import type { Benchmark } from '../benchmark.js';
import { figure, inTurn, ratios } from '../benchmark.js';
import { consumeBare } from './bare-consumer.js';
import { fillQueue, queue, readEvents } from './messages.js';

const rounds = 5;

export const benchmark: Benchmark = {
  question: 'How close does the way from a RabbitMQ queue to the log come to a consumer that only passes on?',
  method:
    'The same messages (a credit-default client with ID and timestamp as JSON, persistent, half of them with a message_id) ' +
    'wait in the queue at the start of each run, in RabbitMQ on this machine. The bridge reads them with its default settings. ' +
    'The bare consumer, amqplib with the same prefetch, sends for each message the record that the bridge made of it (key, ' +
    'value and headers are ready in memory) in batches of what has come, acks=all, and acknowledges the batch then. Timed ' +
    'from the first batch, when both have as many messages as they prefetch, to the last acknowledgement by the log.',
  caveats: [
    'The bare consumer parses and checks nothing, and what comes again it doubles: the bridge writes a transaction for each ' +
      'batch, with what makes it recognise that.',
    'RabbitMQ, the log and the consumer share the machine’s cores.',
  ],
  async run(scale, progress) {
    if (!rabbitMqInstalled) {
      progress('skipped: RabbitMQ is not installed (apt-get install rabbitmq-server)');
      return [];
    }
    const count = Math.ceil(20_000 * scale);
    const rabbitMq = await RabbitMq.start();
    const log = await openBenchLog();
    try {
      progress(`${count} messages, making the records`);
      await fillQueue(log, rabbitMq.url, count);
      await timeBridge(log, rabbitMq.url, count);
      const records = await readEvents(log);
      progress(`${rounds} rounds`);
      const perSecond = (run: () => Promise<number>) => async () => {
        await fillQueue(log, rabbitMq.url, count);
        return count / (await run());
      };
      const samples = await inTurn(rounds, {
        bridge: perSecond(() => timeBridge(log, rabbitMq.url, count)),
        bare: perSecond(() => timeBareConsumer(log, rabbitMq.url, records)),
      });
      return [
        figure('bridge ÷ bare consumer', 'ratio', ratios(samples.bridge, samples.bare), { atLeast: 0.85 }),
        figure('bridge', 'messages/s', samples.bridge),
        figure('bare consumer', 'messages/s', samples.bare),
      ];
    } finally {
      await log.close();
      await rabbitMq.stop();
    }
  },
};

const config = loadConfig({});

/** Seconds from the first batch to the last one's transaction. */
async function timeBridge(log: BenchLog, url: string, count: number): Promise<number> {
  const metrics = createMetrics();
  const { streams, serde, pipeline } = log;
  const bridge = await startBridge({
    url,
    config,
    streams,
    serde,
    metrics,
    pipelines: new PipelineSet([[pipeline.name, pipeline]]),
    logger: silentLogger,
  });
  const sum = async (metric: { get(): Promise<{ values: { value: number }[] }> }): Promise<number> =>
    (await metric.get()).values.reduce((total, { value }) => total + value, 0);
  // It is called when the work on a batch begins.
  while ((await sum(metrics.rabbitUnacknowledged)) === 0) await sleep(1);
  const started = performance.now();
  while ((await sum(metrics.rabbitReceived)) < count) await sleep(1);
  const seconds = (performance.now() - started) / 1000;
  await bridge.stop();
  return seconds;
}

async function timeBareConsumer(log: BenchLog, url: string, records: readonly NewRecord[]): Promise<number> {
  const producer = await log.streams.createProducer();
  const seconds = await consumeBare(url, queue, config.RABBITMQ_PREFETCH, producer, records);
  await producer.close();
  return seconds;
}
