import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** All metrics of `/metrics`, in the Prometheus text format. One instance per process. */
export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
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
