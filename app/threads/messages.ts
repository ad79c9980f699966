import type { Config } from '../../platform/config.js';
import type { ErrorCode } from '../../platform/error-codes.js';
import type { HealthParts } from '../../platform/health.js';
import type { ThreadMetrics } from '../../platform/metrics.js';
import type { Engines } from '../start-engines.js';

/** Roles that `up` runs in threads of their own. */
export type ThreadRole = 'process' | 'sink' | 'bridge';

/** What a thread is started with. */
export interface ThreadOptions {
  role: ThreadRole;
  config: Config;
  engines: Pick<Engines, 'brokers' | 'registryUrl' | 'clickHouseUrl'>;
  logFile: string;
  /** Of the process, to be left out of logs. */
  secrets: readonly string[];
}

/** What the main thread may ask a thread. */
export interface ThreadAnswers {
  health: HealthParts;
  stuck: Record<string, string>;
  metrics: ThreadMetrics;
}

/** `start` comes when topics, schemas and models exist: then two threads do not create them at once. */
export type ToThread =
  | { kind: 'start'; pipelines: readonly string[] }
  | { kind: 'ask'; id: number; what: keyof ThreadAnswers }
  | { kind: 'stop' };

export type FromThread =
  | { kind: 'started' }
  | { kind: 'stopped' }
  | { kind: 'failed'; code: ErrorCode; message: string; retriable: boolean }
  | { kind: 'answer'; id: number; value: ThreadAnswers[keyof ThreadAnswers] };
