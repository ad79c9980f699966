import type { Config } from '../../platform/config.js';
import { createApiClient } from '../api-client.js';
import { toTable } from '../../ops/table.js';
import { type ModelAnswer, modelPath, type VersionAnswer } from './api.js';

const newestFirst = new Intl.Collator('en', { numeric: true });

/** Prints the versions of all models, or of one. */
export async function listVersions(
  config: Config,
  name: string | undefined,
  { json }: { json?: boolean },
): Promise<void> {
  const api = await createApiClient(config);
  const names =
    name === undefined
      ? (await api.json<{ models: { name: string }[] }>('/v1/models')).models.map((model) => model.name)
      : [name];
  const models = await Promise.all(
    [...new Set(names)].toSorted().map((each) => api.json<ModelAnswer>(modelPath(each))),
  );
  if (json) return console.log(JSON.stringify({ models }));
  const rows = models.flatMap((model) =>
    model.versions
      .toSorted((a, b) => newestFirst.compare(b.version, a.version))
      .map((version) => toRow(model, version)),
  );
  console.log(toTable([['MODEL', 'VERSION', 'ROLE', 'DIGEST', 'REGISTERED', 'SOURCE'], ...rows]));
  for (const { serving } of models) for (const problem of serving.problems) console.error(problem);
}

function toRow(model: ModelAnswer, { version, digest, registered_at, source }: VersionAnswer): string[] {
  const when = registered_at.slice(0, 19).replace('T', ' ');
  return [model.model, version, roleOf(model, version), digest.slice(0, 12), when, source];
}

function roleOf({ champion, challenger }: ModelAnswer, version: string): string {
  if (champion?.version === version) return 'champion';
  if (challenger?.version !== version) return '';
  const tasks = [
    ...(challenger.shadow ? ['shadow'] : []),
    ...(challenger.canary_share > 0 ? [`canary ${challenger.canary_share}`] : []),
  ];
  return tasks.length === 0 ? 'challenger' : `challenger (${tasks.join(', ')})`;
}
