import { setTimeout as sleep } from 'node:timers/promises';
import type { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import { toAliases } from '../../ingest/models/answers.js';
import type { ModelState } from '../../models/lifecycle/state.js';
import type { Config } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import { type ApiClient, createApiClient, isUnconnected } from '../api-client.js';
import { type AliasesAnswer, type ModelAnswer, modelPath } from './api.js';

export interface AliasOptions {
  /** How long to wait until the process behind the API serves the change, in seconds. */
  wait: number;
  json?: boolean;
}

/** A change of one model: as a request to the API and, while no API answers, as a command on the log. */
interface Change {
  model: string;
  path: string;
  method: string;
  body?: object;
  decide: (lifecycle: ModelLifecycle) => Promise<ModelState>;
}

/** Source of events that a command adds to the log itself. */
const source = 'millrace/cli';

export function promote(
  config: Config,
  model: string,
  version: string,
  options: AliasOptions,
): Promise<void> {
  const decide = (lifecycle: ModelLifecycle) => lifecycle.promote(model, version, source);
  return run(config, { model, path: '/aliases/champion', method: 'PUT', body: { version }, decide }, options);
}

export function rollback(config: Config, model: string, options: AliasOptions): Promise<void> {
  const decide = (lifecycle: ModelLifecycle) => lifecycle.rollback(model, source);
  return run(config, { model, path: '/rollback', method: 'POST', decide }, options);
}

export function challenge(
  config: Config,
  model: string,
  version: string,
  options: AliasOptions & { shadow?: boolean; canary: number },
): Promise<void> {
  const { shadow = false, canary: canaryShare } = options;
  const decide = (lifecycle: ModelLifecycle) =>
    lifecycle.challenge(model, version, { shadow, canaryShare }, source);
  const body = { version, shadow, canary_share: canaryShare };
  return run(config, { model, path: '/aliases/challenger', method: 'PUT', body, decide }, options);
}

export function clear(config: Config, model: string, options: AliasOptions): Promise<void> {
  const decide = (lifecycle: ModelLifecycle) => lifecycle.clearChallenger(model, source);
  return run(config, { model, path: '/aliases/challenger', method: 'DELETE', decide }, options);
}

/** @param options - `force`: also if it is the champion or the challenger. */
export function unregister(
  config: Config,
  model: string,
  version: string,
  options: AliasOptions & { force?: boolean },
): Promise<void> {
  const { force = false } = options;
  const decide = (lifecycle: ModelLifecycle) => lifecycle.unregister(model, version, { force }, source);
  const path = `/versions/${encodeURIComponent(version)}?force=${force}`;
  return run(config, { model, path, method: 'DELETE', decide }, options);
}

async function run(config: Config, change: Change, { wait, json }: AliasOptions): Promise<void> {
  const api = await createApiClient(config);
  const { model, path, method, body, decide } = change;
  let decided: AliasesAnswer;
  try {
    decided = await api.json<AliasesAnswer>(modelPath(model, path), {
      method,
      ...(body === undefined
        ? {}
        : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
  } catch (error) {
    if (!mayUseLog(config, error)) throw error;
    const { changeModelOnLog } = await import('../../app/change-models.js');
    decided = toAliases(await changeModelOnLog(config, model, decide));
    const log =
      config.KAFKA_BROKERS === undefined ? `the log in ${config.DATA_DIR}` : 'the log (KAFKA_BROKERS)';
    console.error(`${api.url} does not answer: changed ${log} itself.`);
    return console.log(json ? JSON.stringify(decided) : describe(decided));
  }
  if (wait > 0) await untilServed(api, decided, wait * 1000);
  console.log(json ? JSON.stringify(decided) : describe(decided));
}

/**
 * Whether no API got the request: one that broke off may have made the change. The API that `MILLRACE_URL`
 * names may have another log than this machine's.
 */
function mayUseLog({ MILLRACE_URL: url, KAFKA_BROKERS: brokers }: Config, error: unknown): boolean {
  return isUnconnected(error) && (url === undefined || brokers !== undefined);
}

/**
 * Resolves when the process behind the API serves the new aliases, or later ones.
 *
 * @throws MillraceError `MODEL_NOT_SERVED`. The new alias stays set, and the previous version keeps serving.
 */
async function untilServed(api: ApiClient, decided: AliasesAnswer, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const versions = [decided.champion?.version, decided.challenger?.version].filter(
    (each) => each !== undefined,
  );
  for (;;) {
    const { serving, champion, challenger } = await api.json<ModelAnswer>(modelPath(decided.model));
    // Without a champion the process keeps the version that it has.
    const isServed =
      (champion === null || serving.champion?.version === champion.version) &&
      (serving.challenger?.version ?? null) === (challenger?.version ?? null);
    if (isServed) return;
    const problems = serving.problems.filter((problem) =>
      versions.some((version) => problem.includes(version)),
    );
    const late = performance.now() > deadline;
    if (problems.length > 0 || late) {
      const reason = problems.join('; ') || `it is not loaded after ${timeoutMs / 1000} s`;
      const served =
        serving.champion === null ? 'serves no version' : `still serves version ${serving.champion.version}`;
      throw new MillraceError(
        'MODEL_NOT_SERVED',
        `The change is recorded, but ${api.url} ${served}: ${reason}. It keeps retrying. To undo the change, run \`millrace models rollback ${decided.model}\`.`,
      );
    }
    await sleep(50);
  }
}

function describe({ model, champion, challenger }: AliasesAnswer): string {
  const serving =
    champion === null
      ? `${model} has no champion: the next start takes the newest version in its folder`
      : `${model}: version ${champion.version} is champion since ${champion.model_event_at} (event ${champion.model_event}${champion.previous_version === null ? '' : `, before it ${champion.previous_version}`})`;
  if (challenger === null) return `${serving}; no challenger.`;
  const share = `answers ${challenger.canary_share * 100} % of the entities`;
  return `${serving}; version ${challenger.version} is challenger since ${challenger.model_event_at} (event ${challenger.model_event}), ${challenger.shadow ? 'in shadow, ' : ''}${share}.`;
}
