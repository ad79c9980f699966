import { Hono, type Context } from 'hono';
import { z } from 'zod';
import type { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import type { ServedModels, ServedAlias, ServedModel } from '../../models/lifecycle/served-models.js';
import type { Alias, Challenger, ModelState, RegisteredVersion } from '../../models/lifecycle/state.js';
import { findVersion, readModel } from '../../models/registry.js';
import { receiveVersion } from '../../models/registration/receive.js';
import type { ModelRegistrar } from '../../models/registration/registrar.js';
import { MillraceError } from '../../platform/errors.js';
import { clientOf } from '../middleware/authentication.js';
import { parseJson, readText } from '../request-body.js';

export interface ModelOperationsOptions {
  lifecycle: ModelLifecycle;
  served: ServedModels;
  registrar: ModelRegistrar;
  /** All folders with versions. */
  modelRoots: readonly string[];
  /** Largest file of a version, bytes. */
  maxModelBytes: number;
}

const source = 'millrace/http';

const championSchema = z.strictObject({ version: z.string() });
const challengerSchema = z.strictObject({
  version: z.string(),
  shadow: z.boolean().default(false),
  canary_share: z.number().min(0).max(1).default(0),
});

/** `POST /v1/models/{name}/versions`: has limits of its own, so it goes before those of all other routes. */
export function modelUploadRoutes({ registrar, maxModelBytes }: ModelOperationsOptions): Hono {
  const app = new Hono();
  app.post('/:name/versions', async (c) => {
    const model = c.req.param('name');
    let importedFrom: string | undefined;
    const receive = async (folder: string): Promise<void> => {
      const contentType = c.req.header('content-type') ?? '';
      const fields = await receiveVersion(c.req.raw.body, { contentType, folder, maxBytes: maxModelBytes });
      importedFrom = fields.get('source');
    };
    const sender = { client: clientOf(c)?.id ?? '', source: () => importedFrom ?? source };
    const { version, existed } = await registrar.register(model, receive, sender);
    return c.json({ ...describeVersion(model, version), existed }, existed ? 200 : 201);
  });
  return app;
}

/** What is below `/v1/models/{name}`: a model's versions, and who of them is champion and challenger. */
export function modelOperations({ lifecycle, served, modelRoots }: ModelOperationsOptions): Hono {
  const app = new Hono();
  const problemsOf = (model: string) =>
    served.problems().filter((problem) => problem.startsWith(`${model} `));

  app.get('/:name', (c) => {
    const model = c.req.param('name');
    return c.json({
      ...describeAliases(lifecycle.get(model)),
      versions: Array.from(lifecycle.get(model).versions.values(), (version) =>
        describeVersion(model, version),
      ),
      serving: { ...describeServed(served.get(model)), problems: problemsOf(model) },
    });
  });

  app.get('/:name/versions/:version', async (c) => {
    const { name, version } = c.req.param();
    const registered = lifecycle.get(name).versions.get(version);
    if (registered === undefined) {
      throw new MillraceError('MODEL_NOT_FOUND', `${name} has no version '${version}'.`);
    }
    const { folder } = await findVersion(modelRoots, { name, ...registered });
    const { manifest, golden } = await readModel(folder);
    return c.json({ ...describeVersion(name, registered), manifest, golden: { rows: golden } });
  });

  app.put('/:name/aliases/champion', async (c) => {
    const { version } = await read(c, championSchema);
    return c.json(describeAliases(await lifecycle.promote(c.req.param('name'), version, source)));
  });

  app.put('/:name/aliases/challenger', async (c) => {
    const { version, shadow, canary_share: canaryShare } = await read(c, challengerSchema);
    const settings = { shadow, canaryShare };
    return c.json(describeAliases(await lifecycle.challenge(c.req.param('name'), version, settings, source)));
  });

  app.delete('/:name/aliases/challenger', async (c) =>
    c.json(describeAliases(await lifecycle.clearChallenger(c.req.param('name'), source))),
  );

  app.post('/:name/rollback', async (c) =>
    c.json(describeAliases(await lifecycle.rollback(c.req.param('name'), source))),
  );
  return app;
}

async function read<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  const body = parseJson(await readText(c, 'json', 1));
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'the body'}: ${message}`,
  );
  throw new MillraceError('REQUEST_INVALID', `${problems.join('; ')}.`);
}

function describeVersion(
  model: string,
  { version, digest, source: from, registeredAt }: RegisteredVersion,
): object {
  return { model, version, digest, source: from, registered_at: toTime(registeredAt) };
}

function describeAliases({ model, champion, challenger }: ModelState): object {
  return {
    model,
    champion: champion === undefined ? null : describeAlias(champion),
    challenger: challenger === undefined ? null : describeChallenger(challenger),
  };
}

function describeAlias({ version, digest, previousVersion, event, at }: Alias): object {
  return {
    version,
    digest,
    previous_version: previousVersion,
    model_event: event,
    model_event_at: toTime(at),
  };
}

function describeChallenger(challenger: Challenger): object {
  const { shadow, canaryShare } = challenger;
  return { ...describeAlias(challenger), shadow, canary_share: canaryShare };
}

function describeServed({ champion, challenger }: ServedModel): object {
  return {
    champion: describeServedAlias(champion),
    challenger: challenger === undefined ? null : describeServedAlias(challenger),
  };
}

function describeServedAlias({ version, event, at }: ServedAlias): object {
  const { version: name, digest } = version.manifest;
  return { version: name, digest, model_event: event, model_event_at: at === null ? null : toTime(at) };
}

function toTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
