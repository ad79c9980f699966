import { setTimeout as sleep } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
import {
  AggregatorRegistry,
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from 'prom-client';

/** The metrics of one thread. */
export type Metrics = ReturnType<typeof createMetrics>;

/** The metrics of another thread, as prom-client passes them between threads. */
export type ThreadMetrics = MetricObjectWithValues<MetricValue<string>>[];

/** How long a scrape waits for another thread, milliseconds. */
const threadTimeoutMs = 1_000;

/**
 * Creates all metrics of a thread.
 *
 * @param thread - its name. Default `main`, which also has the metrics of the process.
 */
export function createMetrics(thread = 'main') {
  // Those of the process have no labels and come from one thread, so they are not aggregated.
  const ofProcess = new Registry();
  if (thread === 'main') collectDefaultMetrics({ register: ofProcess });
  const registry = new Registry();
  const registers = [registry];
  watchThread(thread, registers);
  const others: (() => Promise<ThreadMetrics>)[] = [];
  return {
    /** Of this thread. */
    registry,
    /** Adds the metrics of another thread. Counters and histograms with the same labels are added up. */
    include(metrics: () => Promise<ThreadMetrics>): void {
      others.push(metrics);
    },
    /**
     * Returns all metrics in the Prometheus text format; those of a thread that does not answer are left out.
     */
    async text(): Promise<string> {
      const late = sleep(threadTimeoutMs, [], { ref: false });
      const answers = others.map((ask) => Promise.race([ask().catch(() => []), late]));
      const all = await Promise.all([registry.getMetricsAsJSON(), ...answers]);
      const ofThreads = AggregatorRegistry.aggregate(all);
      return (await Promise.all([ofProcess.metrics(), ofThreads.metrics()])).join('\n');
    },
    httpRequests: new Histogram({
      name: 'millrace_http_request_duration_seconds',
      help: 'Time to answer an HTTP request.',
      labelNames: ['method', 'route', 'status'] as const,
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30],
      registers,
    }),
    httpRequestsByKey: new Counter({
      name: 'millrace_http_requests_by_key_total',
      help: 'HTTP requests where API keys are asked for, by the name of the key; of none where it sent no valid one.',
      labelNames: ['key', 'status'] as const,
      registers,
    }),
    eventsAccepted: new Counter({
      name: 'millrace_events_accepted_total',
      help: 'Events that the log acknowledged, by the way they came in.',
      labelNames: ['pipeline', 'source'] as const,
      registers,
    }),
    predictions: new Counter({
      name: 'millrace_predictions_total',
      help: 'Predictions made for the log; a batch that is tried again counts again.',
      labelNames: ['pipeline', 'model', 'model_version', 'role'] as const,
      registers,
    }),
    modelEvent: new Gauge({
      name: 'millrace_model_event',
      help: 'Offset on millrace.models of the alias event by which a version serves in this process; -1 when it is not known.',
      labelNames: ['model', 'alias', 'model_version'] as const,
      // Of several threads: the newest.
      aggregator: 'max',
      registers,
    }),
    challengerFailures: new Counter({
      name: 'millrace_challenger_failures_total',
      help: 'Events that a challenger could not score: in shadow they have no shadow prediction, as canary the champion answers.',
      labelNames: ['model', 'model_version', 'role'] as const,
      registers,
    }),
    deadLetters: new Counter({
      name: 'millrace_dead_letters_total',
      help: 'Records that could not be scored or stored, by reason; a batch that is tried again counts again.',
      labelNames: ['pipeline', 'reason'] as const,
      registers,
    }),
    unreadEventTimes: new Counter({
      name: 'millrace_event_times_unread_total',
      help: 'Records whose ce_time header is no time: their events have the time of the record.',
      labelNames: ['pipeline'] as const,
      registers,
    }),
    modelBatchRows: new Histogram({
      name: 'millrace_model_batch_rows',
      help: 'Rows that one model call scored.',
      labelNames: ['model', 'model_version'] as const,
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096],
      registers,
    }),
    modelSeconds: new Histogram({
      name: 'millrace_model_duration_seconds',
      help: 'Time of one model call, from its start to its result.',
      labelNames: ['model', 'model_version'] as const,
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1],
      registers,
    }),
    scheduledRuns: new Counter({
      name: 'millrace_scheduled_runs_total',
      help: 'Runs of a schedule that are on the log; a catch-up stands for several that were missed.',
      labelNames: ['schedule', 'catch_up'] as const,
      registers,
    }),
    jobs: new Counter({
      name: 'millrace_jobs_total',
      help: 'File jobs that this process has brought to their end, by how they ended.',
      labelNames: ['pipeline', 'state'] as const,
      registers,
    }),
    sinkRows: new Counter({
      name: 'millrace_sink_rows_total',
      help: 'Rows inserted into ClickHouse.',
      labelNames: ['table'] as const,
      registers,
    }),
    sinkFailures: new Counter({
      name: 'millrace_sink_failures_total',
      help: 'Inserts into ClickHouse that failed and are tried again.',
      labelNames: ['table'] as const,
      registers,
    }),
    rateLimited: new Counter({
      name: 'millrace_rate_limited_requests_total',
      help: 'Requests that were refused with 429, by what the client is known by.',
      labelNames: ['by'] as const,
      registers,
    }),
    rateLimit: new Gauge({
      name: 'millrace_rate_limit_per_second',
      help: 'What one client may ask for a second now: RATE_LIMIT_PER_SECOND, or less under pressure.',
      registers,
    }),
    rabbitReceived: new Counter({
      name: 'millrace_rabbitmq_received_total',
      help: 'Messages that were dealt with, by what became of them: event, dead_letter, retried, repeated (came again and was on the log).',
      labelNames: ['queue', 'outcome'] as const,
      registers,
    }),
    rabbitUnacknowledged: new Gauge({
      name: 'millrace_rabbitmq_unacknowledged_messages',
      help: 'Messages that RabbitMQ has delivered and that are not on the log yet.',
      labelNames: ['queue'] as const,
      registers,
    }),
    rabbitPublished: new Counter({
      name: 'millrace_rabbitmq_published_total',
      help: 'Results and replies by what became of them: routed, unroutable (no queue was there for it), refused (a queue rejected it until it was given up), invalid (it can’t be sent).',
      labelNames: ['kind', 'outcome'] as const,
      registers,
    }),
    rabbitUnconfirmed: new Gauge({
      name: 'millrace_rabbitmq_unconfirmed_messages',
      help: 'Published messages whose confirmation has not come yet.',
      registers,
    }),
    redisFailures: new Counter({
      name: 'millrace_redis_failures_total',
      help: 'Times that Redis failed and was left alone until it worked again.',
      registers,
    }),
  };
}

/** What an operator needs to see which thread is the limit. */
function watchThread(thread: string, registers: Registry[]): void {
  let before = performance.eventLoopUtilization();
  const utilization = new Gauge({
    name: 'millrace_thread_utilization',
    help: 'Share of the time since the last scrape that the event loop of a thread was busy: at 1 it is the limit.',
    labelNames: ['thread'] as const,
    registers,
    collect: (): void => {
      const now = performance.eventLoopUtilization();
      utilization.set({ thread }, performance.eventLoopUtilization(now, before).utilization);
      before = now;
    },
  });
  const heap = new Gauge({
    name: 'millrace_thread_heap_bytes',
    help: 'JavaScript heap in use of a thread.',
    labelNames: ['thread'] as const,
    registers,
    collect: (): void => heap.set({ thread }, getHeapStatistics().used_heap_size),
  });
}
