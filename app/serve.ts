import { findDeadLetters, findPredictions, ping } from '../analytics/queries.js';
import { join } from 'node:path';
import { createApp } from '../ingest/app.js';
import type { FileJobs } from '../ingest/jobs/file-jobs.js';
import { EventAcceptor } from '../processors/events/accept-events.js';
import { type FindStored, PredictionCache } from '../processors/events/prediction-cache.js';
import { type HttpServer, serveHttp } from '../ingest/server.js';
import { JobFiles } from '../processors/jobs/job-files.js';
import { JobLog } from '../processors/jobs/job-log.js';
import { JobRunner } from '../processors/jobs/job-runner.js';
import { FileParser } from '../processors/jobs/parser/file-parser.js';
import type { LogProducer } from '../streams/log-producer.js';
import { ModelRegistrar } from '../models/registration/registrar.js';
import { modelRoots, registeredModels } from '../processors/pipelines/open-pipelines.js';
import { sampleRows } from '../processors/pipelines/sample-rows.js';
import { followScheduleRuns } from '../processors/schedules/schedule-runs.js';
import { schedulesOf } from '../processors/schedules/schedule.js';
import { ApiKeys } from '../ingest/api-keys/api-keys.js';
import { RateLimits } from '../ingest/middleware/rate-limits.js';
import { startLoadShedding } from '../ingest/middleware/load-shedding.js';
import { SharedStore } from '../platform/shared-store.js';
import { tlsOptions } from '../platform/tls-settings.js';
import { scoringLag } from './consumer-lag.js';
import type { Config } from '../platform/config.js';
import type { Context, Role } from './context.js';

/** Dependencies of the HTTP API. */
export interface ServeRole extends Role {
  port: number;
  acceptor: EventAcceptor;
  registrar: ModelRegistrar;
}

/**
 * @param open - a listening server to use. Default: a new one.
 * @throws MillraceError `PORT_IN_USE`
 */
export async function startServe(context: Context, open?: HttpServer): Promise<ServeRole> {
  const { config, logger, metrics, health, streams, serde, analytics, pipelines, lifecycle, served } =
    context;
  const findStored: FindStored = (eventIds, signal) => findPredictions(analytics.client, eventIds, signal);
  health.add(
    'look-ups',
    async () => {
      await ping(analytics.client);
      return { status: 'up' };
    },
    { optional: true },
  );
  const shared =
    config.REDIS_URL === undefined
      ? undefined
      : new SharedStore({ url: config.REDIS_URL, tls: tlsOptions(config, 'REDIS'), metrics, logger });
  if (shared !== undefined) {
    health.add('redis', () => (shared.check(), { status: 'up' }), { optional: true });
  }
  const apiKeys = new ApiKeys({
    keys: config.API_KEYS,
    file: config.API_KEYS_FILE,
    pipelines: () => [...pipelines.keys(), ...pipelines.down.keys()],
    logger,
  });
  // Down, because keys that were removed from the rejected file still work.
  if (config.API_KEYS_FILE !== undefined)
    health.add('api keys', () =>
      apiKeys.problem === undefined ? { status: 'up' } : { status: 'down', detail: apiKeys.problem },
    );
  const limits = startLimits(context, shared);
  const cache = new PredictionCache(findStored, { shared });
  const producer = await streams.createProducer();
  const acceptor = new EventAcceptor({ producer, serde, cache, metrics, logger, shared });
  const jobs = await openJobs(context, producer);
  const scheduleRuns = await followScheduleRuns(context);
  const registrar = new ModelRegistrar({
    lifecycle,
    root: registeredModels(config),
    roots: modelRoots(config),
    sampleRows: (manifest) => sampleRows(context.opened.candidates, manifest),
    trialMemoryMb: config.MODEL_TRIAL_MEMORY_MB,
    logger,
  });
  const app = createApp({
    jobs,
    pipelines,
    schedules: schedulesOf(config, pipelines.names),
    scheduleRuns,
    acceptor,
    cache,
    findStored,
    findDeadLetters: (eventId) => findDeadLetters(analytics.client, eventId),
    modelRoots: modelRoots(config),
    lifecycle,
    served,
    registrar,
    maxModelBytes: config.MAX_MODEL_BYTES,
    health,
    metrics,
    logger,
    apiKeys,
    host: config.HOST,
    limits: limits?.limits,
    trustProxy: config.TRUST_PROXY,
    maxBodyBytes: config.MAX_BODY_BYTES,
    requestTimeoutMs: config.REQUEST_TIMEOUT_MS,
    maxEvents: config.MAX_EVENTS_PER_REQUEST,
  });
  const server = open ?? (await serveHttp(app, config.HOST, config.PORT));
  server.use(app);
  return {
    port: server.port,
    acceptor,
    registrar,
    stop: async () => {
      await server.stop(graceForRequests(config));
      await jobs.runner.stop();
      await jobs.parser.close();
      await jobs.log.close();
      await scheduleRuns.stop();
      limits?.stop();
      apiKeys.stop();
      await producer.close();
      await shared?.close();
    },
  };
}

function startLimits(
  { config, metrics, logger, streams, pipelines }: Context,
  shared: SharedStore | undefined,
): { limits: RateLimits; stop: () => void } | undefined {
  if (config.RATE_LIMIT_PER_SECOND === 0 && config.API_KEYS_FILE === undefined) return undefined;
  // A key may have a limit even without a global one.
  const perSecond = config.RATE_LIMIT_PER_SECOND || 1_000_000_000;
  const limits = new RateLimits({ perSecond, metrics, shared });
  const watch = startLoadShedding({
    limits,
    logger,
    loopDelayMs: config.RATE_LIMIT_LOOP_DELAY_MS,
    lagRecords: config.RATE_LIMIT_LAG_RECORDS,
    lag: () => scoringLag(streams, [...pipelines.keys()]),
  });
  const stop = (): void => {
    watch.stop();
    limits.stop();
  };
  return { limits, stop };
}

/** Ends jobs and pending writes to the log after the last response. */
const restMs = 5_000;

/** Time limit for open requests when it stops, in milliseconds. */
function graceForRequests({ STOP_TIMEOUT_MS, STOP_DELAY_MS }: Config): number {
  return Math.max(1_000, STOP_TIMEOUT_MS - STOP_DELAY_MS - restMs);
}

const dayMs = 24 * 3_600_000;

/** Starts file jobs and resumes unfinished ones. */
async function openJobs(context: Context, producer: LogProducer): Promise<FileJobs> {
  const { config, streams, serde, pipelines, metrics, logger } = context;
  const { client } = context.analytics;
  const log = await JobLog.open({ streams, serde, producer, logger });
  const files = new JobFiles(config.FILES_DIR ?? join(config.DATA_DIR, 'files'));
  const parser = new FileParser();
  const runner = new JobRunner({
    parser,
    streams,
    serde,
    client,
    log,
    files,
    pipelines,
    metrics,
    logger,
    // With the embedded log, no other process can run a job.
    heartbeatTimeoutMs: config.KAFKA_BROKERS === undefined ? 0 : config.KAFKA_SESSION_TIMEOUT_MS,
    retentionMs: config.FILES_RETENTION_DAYS * dayMs,
  });
  runner.start();
  return { log, files, parser, runner, client, maxFileBytes: config.MAX_FILE_BYTES };
}
