// Runs in a worker thread: one role of `up`.
import { getPriority, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { Health } from '../../platform/health.js';
import { createLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { keepSecret } from '../../platform/secrets.js';
import { startTraces } from '../../platform/tracing/traces.js';
import { connect, type ThreadBase } from '../connections.js';
import type { Role } from '../context.js';
import { type Engines, shareEngines } from '../start-engines.js';
import { stopAll } from '../stop-all.js';
import type { FromThread, ThreadAnswers, ThreadOptions, ToThread } from './messages.js';

const port = parentPort;
if (port === null) throw new Error('thread.js is started by RoleThread, in a worker thread.');

const { role, engines: shared, logFile, secrets, ...given }: ThreadOptions = workerData;
// An embedded log is one of another process here: the main thread looks after its files.
const config = { ...given.config, KAFKA_BROKERS: shared.brokers };
keepSecret(...secrets);
const stopping = new AbortController();
const base: ThreadBase = {
  logger: createLogger(config.LOG_LEVEL, logFile),
  signal: stopping.signal,
  metrics: createMetrics(role),
  health: new Health(undefined, 'starting'),
};
const roles: Role[] = [];
let starting: Promise<void> = Promise.resolve();
// Loaded while the main thread prepares the rest.
const startRole = await loadRole();

port.on('message', (message: ToThread) => {
  if (message.kind === 'start') starting = start(message.pipelines);
  else if (message.kind === 'ask') void answer(message.id, message.what);
  else void stop();
});

type StartRole = (engines: Engines, pipelines: readonly string[]) => Promise<Role>;

/**
 * While the cores are busy, requests and the log go first: a thread that is nicer by 5 gets a third of their
 * share, and the records that it processes then gather into larger batches. Linux has a niceness for each
 * thread (sched(7)); other systems have one for the process.
 */
function answersFirst(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(0, Math.min(getPriority(0) + 5, 19));
  } catch {
    // A sandbox may forbid it.
  }
}

async function loadRole(): Promise<StartRole> {
  if (role === 'sink') {
    const { startSink } = await import('../sink.js');
    return (engines, names) => {
      const connections = connect(config, engines, base);
      roles.push({ stop: () => connections.close() });
      return startSink({ ...connections, pipelines: { names, onChange: () => () => undefined } });
    };
  }
  // The sink needs no pipelines and models: it does not load their code.
  const { openContext } = await import('../context.js');
  const open = async (engines: Engines) => {
    const context = await openContext(config, engines, base);
    roles.push({ stop: () => context.close() });
    return context;
  };
  if (role === 'process') {
    const { startProcessors } = await import('../process.js');
    return async (engines) => startProcessors(await open(engines));
  }
  const { startBridge } = await import('../bridge.js');
  return async (engines) => startBridge(await open(engines), { optional: true });
}

async function start(pipelines: readonly string[]): Promise<void> {
  try {
    roles.push(await startTraces(config, base.logger));
    const engines = await shareEngines(config, shared);
    roles.push(engines);
    roles.push(await startRole(engines, pipelines));
    answersFirst();
    base.health.started();
    send({ kind: 'started' });
  } catch (error) {
    const { code, message, retriable } =
      error instanceof MillraceError ? error : new MillraceError('THREAD_FAILED', messageOf(error));
    send({ kind: 'failed', code, message, retriable });
  }
}

const answers: { [What in keyof ThreadAnswers]: () => Promise<ThreadAnswers[What]> } = {
  health: () => base.health.parts(),
  stuck: () => base.health.stuck(),
  metrics: () => base.metrics.registry.getMetricsAsJSON(),
};

async function answer(id: number, what: keyof ThreadAnswers): Promise<void> {
  send({ kind: 'answer', id, value: await answers[what]() });
}

async function stop(): Promise<void> {
  stopping.abort();
  base.health.drain();
  await starting;
  try {
    await stopAll(roles);
  } catch (error) {
    base.logger.error({ err: error }, 'stopping failed');
  }
  send({ kind: 'stopped' });
}

function send(message: FromThread): void {
  port?.postMessage(message);
}
