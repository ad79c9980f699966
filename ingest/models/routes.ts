import { Hono } from 'hono';
import type { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import type { ServedModels } from '../../models/lifecycle/served-models.js';
import type { Alias, ModelState, RegisteredVersion } from '../../models/lifecycle/state.js';
import { findVersion } from '../../models/registry.js';
import { mayUse } from '../middleware/authorization.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import { modelsOf } from '../../processors/scoring/model-router.js';
import { MillraceError } from '../../platform/errors.js';

export interface ModelRoutesOptions {
  pipelines: ReadonlyMap<string, OpenPipeline>;
  modelRoots: readonly string[];
  lifecycle: ModelLifecycle;
  served: ServedModels;
}

/** `/v1/models`: every registered version, the aliases that it has and since when, and whether it serves in this process. */
export function modelRoutes({ pipelines, modelRoots, lifecycle, served }: ModelRoutesOptions): Hono {
  const app = new Hono();
  app.get('/', async (c) => {
    const models = await Promise.all(
      lifecycle.models.flatMap((model) => {
        const users = [...pipelines.values()].filter((each) => modelsOf(each.pipeline).includes(model));
        if (!users.every(({ name }) => mayUse(c, name))) return [];
        const state = lifecycle.get(model);
        return [...state.versions.values()].map((version) => describe(state, version));
      }),
    );
    return c.json({ models });
  });

  async function describe(state: ModelState, { version, digest, source, registeredAt }: RegisteredVersion) {
    const { champion, challenger } = served.get(state.model);
    const serving = [champion, challenger].some((alias) => alias?.version.manifest.digest === digest);
    return {
      name: state.model,
      version,
      digest,
      serving,
      aliases: aliasesOf(state, version),
      registered_at: new Date(registeredAt).toISOString(),
      source,
      ...(await describeFolder(state.model, version, digest)),
    };
  }

  /** What its folder tells of a version, or why there is nothing to tell. */
  async function describeFolder(name: string, version: string, digest: string): Promise<object> {
    try {
      const { manifest } = await findVersion(modelRoots, { name, version, digest });
      const { description, inputs, output, metrics } = manifest;
      return { description, inputs, output, metrics };
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      return { problem: error.message };
    }
  }
  return app;
}

function aliasesOf({ champion, challenger }: ModelState, version: string): object[] {
  const common = ({ at, event, previousVersion }: Alias) => ({
    since: new Date(at).toISOString(),
    model_event: event,
    previous_version: previousVersion,
  });
  const aliases: object[] = [];
  if (champion?.version === version) aliases.push({ alias: 'champion', ...common(champion) });
  if (challenger?.version === version) {
    const { shadow, canaryShare } = challenger;
    aliases.push({ alias: 'challenger', shadow, canary_share: canaryShare, ...common(challenger) });
  }
  return aliases;
}
