import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { startEngines } from './start-engines.js';
import { Health } from '../platform/health.js';
import type { Config } from '../platform/config.js';
import { pipelineNames } from '../processors/pipelines/load-pipelines.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import { createLogger, rotateLog } from '../platform/logger.js';
import { createMetrics } from '../platform/metrics.js';
import { startTraces } from '../platform/tracing/traces.js';
import { serveHttp } from '../ingest/server.js';
import { withoutCredentials } from '../platform/secrets.js';
import { version } from '../platform/version.js';
import { kafkaSettings } from './connections.js';
import { openContext, type Role } from './context.js';
import { showHealth, somePipeline } from './health.js';
import { stopAll } from './stop-all.js';
import { openDataFolder } from './data-folder.js';
import { type Endpoints, writeEndpoints } from './endpoints.js';
import { startDemo } from './demo.js';
import { startDev } from './dev/dev-mode.js';
import { type OtherRoles, rolesHere, rolesInThreads } from './threads/roles.js';
import { startSchedules } from './schedule.js';
import { notYet } from './run-role.js';
import { startServe } from './serve.js';

export interface UpOptions {
  /** Whether to send sample events. */
  demo: boolean;
  /** Whether to take changes of the project's files into use while it runs. Default false. */
  dev?: boolean;
  /** Called for each step of the start. */
  onProgress: (step: string) => void;
  /** Aborts the start. */
  signal?: AbortSignal;
}

/** The whole system in this process. Engines without a setting are embedded. */
export interface RunningSystem extends Role {
  endpoints: Endpoints;
  /** The endpoints as text. */
  banner: string;
}

/** Starts all roles. If one fails to start, stops the others again. */
export async function up(
  config: Config,
  { demo, dev = false, onProgress, signal }: UpOptions,
): Promise<RunningSystem> {
  const startedAt = performance.now();
  // Before anything is written: the working directory may be the wrong one.
  await pipelineNames(config.MILLRACE_PROJECT);
  // Locks first: two brokers on one log would corrupt it.
  const folder = await openDataFolder(config.DATA_DIR);
  const logFile = join(config.DATA_DIR, 'millrace.log');
  rotateLog(logFile);
  const logger = createLogger(config.LOG_LEVEL, logFile);
  const roles: Role[] = [{ stop: () => folder.release() }];
  const stop = (): Promise<void> => stopAll(roles);
  try {
    roles.push(await startTraces(config, logger));
    const base = { logger, signal, metrics: createMetrics(), health: new Health(undefined, 'starting') };
    showHealth(base.metrics.registry, base.health);
    // First of all, since the port may be in use.
    const server = await serveHttp(notYet(base), config.HOST, config.PORT);
    roles.push({ stop: () => server.stop() });
    let others: OtherRoles | undefined;
    roles.push({ stop: () => others?.end() });
    onProgress('engines');
    const engines = await startEngines(config, base, kafkaSettings(config));
    roles.push(engines);
    // A changed pipeline is taken into use in this thread alone.
    others = dev ? rolesHere(config) : rolesInThreads({ config, engines, logFile });
    roles.push(others);
    onProgress('models, schemas, topics and tables');
    const context = await openContext(config, engines, base);
    roles.push({ stop: () => context.close() });
    onProgress('sink, scorers and HTTP API');
    const [served, rest] = await Promise.allSettled([startServe(context, server), others.start(context)]);
    if (served.status === 'rejected') throw served.reason;
    const serve = served.value;
    roles.push(serve);
    if (rest.status === 'rejected') throw rest.reason;
    roles.push(await startSchedules(context));
    if (demo) roles.push(startDemo(context.pipelines, serve.acceptor, logger));
    if (dev) roles.push(await startDev(context, serve.registrar));
    roles.push({ stop: () => context.health.drain() });
    context.health.started();
    onProgress('readiness');
    // On external brokers, a killed predecessor remains a group member for this long.
    // Even if every pipeline is down: the API and the log are needed to repair them.
    await context.health.whenUp(config.KAFKA_SESSION_TIMEOUT_MS + 30_000, somePipeline);
    const endpoints = {
      http: `http://${config.HOST}:${serve.port}`,
      kafka: engines.brokers,
      schema_registry: withoutCredentials(engines.registryUrl),
      clickhouse: withoutCredentials(engines.clickHouseUrl),
    };
    await writeEndpoints(config.DATA_DIR, endpoints);
    const seconds = (performance.now() - startedAt) / 1000;
    logger.info({ endpoints, seconds }, 'ready');
    return {
      stop,
      endpoints,
      banner: banner({ config, endpoints, logFile, seconds, demo, pipelines: context.pipelines }),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function banner(system: {
  config: Config;
  endpoints: Endpoints;
  logFile: string;
  seconds: number;
  demo: boolean;
  pipelines: Pipelines;
}): string {
  const { config, endpoints, logFile, seconds, demo, pipelines } = system;
  const { http, clickhouse } = endpoints;
  const exampleOf = (pipeline: string): string =>
    relative(process.cwd(), join(config.MILLRACE_PROJECT, 'examples', `${pipeline}.json`));
  const pipeline = [...pipelines.keys()].find((name) => existsSync(exampleOf(name)));
  const predict =
    pipeline === undefined
      ? ''
      : `
  Score an event:
    curl -X POST ${http}/v1/pipelines/${pipeline}/predict -H 'content-type: application/json' -d @${exampleOf(pipeline)}`;
  return `
Millrace ${version} is ready (${seconds.toFixed(1)} s).

  HTTP API         ${http}  (try it at ${http}/docs)
  Kafka API        ${endpoints.kafka.join(',')}
  Schema registry  ${endpoints.schema_registry}
  ClickHouse       ${clickhouse}
  Data             ${relative(process.cwd(), config.DATA_DIR) || '.'}
  Log              ${relative(process.cwd(), logFile)}
${predict}
  Look at the newest predictions:
    curl '${clickhouse}/' -d 'SELECT event_id, score, label FROM millrace.predictions_by_time LIMIT 5 FORMAT PrettyCompact'

${describeDown(pipelines)}  ${demo ? 'Sample events arrive every second; --no-demo turns them off. ' : ''}Ctrl-C stops everything.
`;
}

function describeDown({ down }: Pipelines): string {
  return Array.from(down, ([name, { reason }]) => `  DOWN: the pipeline ${name}. ${reason}\n\n`).join('');
}
