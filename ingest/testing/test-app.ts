/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hono } from 'hono';
import type { ClickHouseClient } from '@clickhouse/client';
import type { FoundDeadLetter } from '../../analytics/queries.js';
import type { PredictionRow } from '../../analytics/rows.js';
import { createModelRuntime } from '../../models/runtime.js';
import { ModelRegistrar } from '../../models/registration/registrar.js';
import { type Config, loadConfig } from '../../platform/config.js';
import { Health } from '../../platform/health.js';
import { type Logger, silentLogger } from '../../platform/logger.js';
import { createMetrics, type Metrics } from '../../platform/metrics.js';
import { EventAcceptor } from '../../processors/events/accept-events.js';
import { PredictionCache } from '../../processors/events/prediction-cache.js';
import { JobFiles } from '../../processors/jobs/job-files.js';
import { FileParser } from '../../processors/jobs/parser/file-parser.js';
import { JobLog } from '../../processors/jobs/job-log.js';
import type { JobRunner } from '../../processors/jobs/job-runner.js';
import { modelRoots, openPipelines, registeredModels } from '../../processors/pipelines/open-pipelines.js';
import { sampleRows } from '../../processors/pipelines/sample-rows.js';
import { followScheduleRuns } from '../../processors/schedules/schedule-runs.js';
import { schedulesOf } from '../../processors/schedules/schedule.js';
import { ApiKeys } from '../api-keys/api-keys.js';
import { type AppOptions, createApp } from '../app.js';
import { RateLimits } from '../middleware/rate-limits.js';
import { MemoryLog } from './memory-log.js';

/** The HTTP API with the shipped pipelines and models, on a log in memory, without a port and a database. */
export interface TestApp {
  app: Hono;
  options: AppOptions;
  log: MemoryLog;
  health: Health;
  metrics: Metrics;
  jobs: AppOptions['jobs'];
  /** Content of the database. */
  stored: PredictionRow[];
  deadLetters: (FoundDeadLetter & { event_id: string })[];
  get(path: string, headers?: Record<string, string>): Promise<Response>;
  /** Sends a body: text unchanged, anything else as JSON. */
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  /** The same API with other options. */
  with(options: Partial<AppOptions>): TestApp;
  stop(): Promise<void>;
}

/** @param settings - of the app, as in the environment. */
export async function startTestApp(
  settings: Record<string, string> = {},
  logger: Logger = silentLogger,
): Promise<TestApp> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-app-'));
  const config = loadConfig({
    DATA_DIR: folder,
    MODEL_WORKERS: '1',
    TAXI_SCHEDULE: '0 * * * *',
    ...settings,
  });
  const log = new MemoryLog();
  const { streams, serde, producer } = log;
  const [metrics, health] = [createMetrics(), new Health()];
  const runtime = createModelRuntime({ workers: config.MODEL_WORKERS });
  const open = await openPipelines({ config, streams, serde, runtime, metrics, logger });
  const { pipelines, lifecycle, served } = open;
  const stored: PredictionRow[] = [];
  const deadLetters: TestApp['deadLetters'] = [];
  const findStored = (ids: readonly string[]): Promise<PredictionRow[]> =>
    Promise.resolve(stored.filter(({ event_id }) => ids.includes(event_id)));
  const cache = new PredictionCache(findStored);
  const jobLog = await JobLog.open({ streams, serde, producer, logger });
  const scheduleRuns = await followScheduleRuns({ streams, serde, logger });
  const parser = new FileParser();
  const apiKeys = new ApiKeys({
    keys: config.API_KEYS,
    file: config.API_KEYS_FILE,
    pipelines: () => pipelines.names,
    logger,
  });
  const limits =
    settings['RATE_LIMIT_PER_SECOND'] === undefined
      ? undefined
      : new RateLimits({ perSecond: config.RATE_LIMIT_PER_SECOND, metrics });
  const options: AppOptions = {
    pipelines,
    lifecycle,
    served,
    schedules: schedulesOf(config, pipelines.names),
    scheduleRuns,
    acceptor: new EventAcceptor({ producer, serde, cache, metrics, logger }),
    cache,
    findStored,
    findDeadLetters: (id) => Promise.resolve(deadLetters.filter(({ event_id }) => event_id === id)),
    jobs: {
      log: jobLog,
      files: new JobFiles(join(folder, 'files')),
      parser,
      // Accepted jobs keep their state: the test decides their outcome.
      runner: { enqueue: () => undefined } satisfies Pick<JobRunner, 'enqueue'> as unknown as JobRunner,
      client: {} as ClickHouseClient,
      maxFileBytes: config.MAX_FILE_BYTES,
    },
    modelRoots: modelRoots(config),
    registrar: new ModelRegistrar({
      lifecycle,
      root: registeredModels(config),
      roots: modelRoots(config),
      sampleRows: (manifest) => sampleRows([...pipelines.values()], manifest),
      trialMemoryMb: config.MODEL_TRIAL_MEMORY_MB,
      logger,
    }),
    maxModelBytes: config.MAX_MODEL_BYTES,
    health,
    metrics,
    logger,
    apiKeys,
    limits,
    ...limitsOf(config),
  };
  const stop = async (): Promise<void> => {
    apiKeys.stop();
    limits?.stop();
    await parser.close();
    await open.close();
    await runtime.close();
    await rm(folder, { recursive: true, force: true });
  };
  return toTestApp(options, { log, health, metrics, stored, deadLetters, stop });
}

function limitsOf(
  config: Config,
): Pick<AppOptions, 'host' | 'trustProxy' | 'maxBodyBytes' | 'requestTimeoutMs' | 'maxEvents'> {
  return {
    host: config.HOST,
    trustProxy: config.TRUST_PROXY,
    maxBodyBytes: config.MAX_BODY_BYTES,
    requestTimeoutMs: config.REQUEST_TIMEOUT_MS,
    maxEvents: config.MAX_EVENTS_PER_REQUEST,
  };
}

type Surroundings = Pick<TestApp, 'log' | 'health' | 'metrics' | 'stored' | 'deadLetters' | 'stop'>;

function toTestApp(options: AppOptions, surroundings: Surroundings): TestApp {
  const app = createApp(options);
  return {
    ...surroundings,
    ...clientOf(async (path, init) => app.request(path, await toBytes(init))),
    app,
    options,
    jobs: options.jobs,
    with: (others) => toTestApp({ ...options, ...others }, surroundings),
  };
}

/**
 * Encodes a form. undici's stream of a form fails with an unhandled rejection (Node 24) when the app refuses
 * the request before the end of the body. Over a connection the app reads another stream.
 */
async function toBytes(init: RequestInit): Promise<RequestInit> {
  if (!(init.body instanceof FormData)) return init;
  const encoded = new Response(init.body);
  const contentType = encoded.headers.get('content-type') ?? '';
  return {
    ...init,
    headers: { ...(init.headers as Record<string, string>), 'content-type': contentType },
    body: await encoded.arrayBuffer(),
  };
}

/** Returns the request functions of tests, for a function that sends to a path. */
export function clientOf(
  request: (path: string, init: RequestInit) => Promise<Response>,
): Pick<TestApp, 'get' | 'send' | 'post'> {
  const send: TestApp['send'] = (method, path, body, headers = {}) =>
    request(path, {
      method,
      headers: {
        ...(body === undefined || body instanceof FormData ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' || body instanceof FormData ? body : JSON.stringify(body) }),
    });
  return {
    send,
    get: (path, headers) => send('GET', path, undefined, headers),
    post: (path, body, headers) => send('POST', path, body, headers),
  };
}
