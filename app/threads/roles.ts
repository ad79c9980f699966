import type { Config } from '../../platform/config.js';
import { startBridge } from '../bridge.js';
import type { Context, Role } from '../context.js';
import { startProcessors } from '../process.js';
import { startSink } from '../sink.js';
import { stopAll } from '../stop-all.js';
import type { ThreadOptions, ThreadRole } from './messages.js';
import { RoleThread } from './role-thread.js';

/** The roles of `up` beside the HTTP API and the schedules. */
export interface OtherRoles extends Role {
  /** @param context - of the main thread, with all pipelines open. */
  start(context: Context): Promise<void>;
  /** Ends their threads, after the engines. */
  end(): Promise<void>;
}

/** Runs them in the main thread. */
export function rolesHere(config: Config): OtherRoles {
  const roles: Role[] = [];
  return {
    async start(context) {
      roles.push(await startSink(context), await startProcessors(context));
      if (names(config).includes('bridge')) roles.push(await startBridge(context, { optional: true }));
    },
    stop: () => stopAll(roles),
    end: () => Promise.resolve(),
  };
}

/** Runs each in a thread of its own, which loads its code from now on. */
export function rolesInThreads({
  config,
  engines: { brokers, registryUrl, clickHouseUrl },
  logFile,
}: Omit<ThreadOptions, 'role' | 'secrets'>): OtherRoles {
  const engines = { brokers, registryUrl, clickHouseUrl };
  const threads = names(config).map((role) => new RoleThread({ role, config, engines, logFile }));
  return {
    async start({ pipelines, health, metrics }) {
      await Promise.all(threads.map((thread) => thread.start(pipelines.names, { health, metrics })));
    },
    stop: () => stopAll(threads),
    async end() {
      await Promise.all(threads.map((thread) => thread.end()));
    },
  };
}

/** In the order of their start. */
function names({ RABBITMQ_URL }: Config): ThreadRole[] {
  return ['sink', 'process', ...(RABBITMQ_URL === undefined ? [] : ['bridge' as const])];
}
