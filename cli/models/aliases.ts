import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import { type ApiClient, createApiClient } from '../api-client.js';
import { type AliasesAnswer, type ModelAnswer, modelPath } from './api.js';

export interface AliasOptions {
  /** How long to wait until the process behind the API serves the change, in seconds. */
  wait: number;
  json?: boolean;
}

export function promote(config: Config, name: string, version: string, options: AliasOptions): Promise<void> {
  return change(config, modelPath(name, '/aliases/champion'), { method: 'PUT', body: { version } }, options);
}

export function rollback(config: Config, name: string, options: AliasOptions): Promise<void> {
  return change(config, modelPath(name, '/rollback'), { method: 'POST' }, options);
}

export function challenge(
  config: Config,
  name: string,
  version: string,
  options: AliasOptions & { shadow?: boolean; canary: number },
): Promise<void> {
  const body = { version, shadow: options.shadow ?? false, canary_share: options.canary };
  return change(config, modelPath(name, '/aliases/challenger'), { method: 'PUT', body }, options);
}

export function clear(config: Config, name: string, options: AliasOptions): Promise<void> {
  return change(config, modelPath(name, '/aliases/challenger'), { method: 'DELETE' }, options);
}

async function change(
  config: Config,
  path: string,
  { method, body }: { method: string; body?: object },
  { wait, json }: AliasOptions,
): Promise<void> {
  const api = await createApiClient(config);
  const decided = await api.json<AliasesAnswer>(path, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  if (wait > 0) await untilServed(api, decided, wait * 1000);
  console.log(json ? JSON.stringify(decided) : describe(decided));
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
    const isServed =
      serving.champion.version === champion?.version &&
      (serving.challenger?.version ?? null) === (challenger?.version ?? null);
    if (isServed) return;
    const problems = serving.problems.filter((problem) =>
      versions.some((version) => problem.includes(version)),
    );
    const late = performance.now() > deadline;
    if (problems.length > 0 || late) {
      const reason = problems.join('; ') || `it is not loaded after ${timeoutMs / 1000} s`;
      throw new MillraceError(
        'MODEL_NOT_SERVED',
        `The change is recorded, but ${api.url} still serves version ${serving.champion.version}: ${reason}. It keeps retrying. To undo the change, run \`millrace models rollback ${decided.model}\`.`,
      );
    }
    await sleep(50);
  }
}

function describe({ model, champion, challenger }: AliasesAnswer): string {
  const serving =
    champion === null
      ? `${model} has no champion`
      : `${model}: version ${champion.version} is champion since ${champion.model_event_at} (event ${champion.model_event}${champion.previous_version === null ? '' : `, before it ${champion.previous_version}`})`;
  if (challenger === null) return `${serving}; no challenger.`;
  const share = `answers ${challenger.canary_share * 100} % of the entities`;
  return `${serving}; version ${challenger.version} is challenger since ${challenger.model_event_at} (event ${challenger.model_event}), ${challenger.shadow ? 'in shadow, ' : ''}${share}.`;
}
