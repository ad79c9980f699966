import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import type { z } from 'zod';
import type { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import type { ServedModels } from '../../models/lifecycle/served-models.js';
import type { ModelState, RegisteredVersion } from '../../models/lifecycle/state.js';
import { findVersion, readModel } from '../../models/registry.js';
import { MillraceError } from '../../platform/errors.js';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import { mayUse } from '../middleware/authorization.js';
import {
  answer,
  bodyCodes,
  jsonBody,
  logCodes,
  type Parameter,
  pathParameter,
  problems,
} from '../openapi/describe.js';
import { readJson } from '../request-body.js';
import { aliasesOf, source, toAliases, toServed, toTime, toVersion } from './answers.js';
import {
  aliasesSchema,
  challengerSchema,
  championSchema,
  type ListedVersion,
  modelSchema,
  modelsSchema,
  versionDetailsSchema,
} from './schemas.js';

export interface ModelRoutesOptions {
  pipelines: Pipelines;
  /** All folders with versions. */
  modelRoots: readonly string[];
  lifecycle: ModelLifecycle;
  served: ServedModels;
}

const tags = ['models'];
const name = pathParameter('name', 'The model.');
const forceParameter: Parameter = {
  in: 'query',
  name: 'force',
  schema: { type: 'boolean', default: false },
  description:
    'Also unregister the champion (the previous champion is restored) or the challenger (it is removed).',
};

/** `/v1/models`: versions, aliases, and the serving versions of this process. */
export function modelRoutes({ pipelines, modelRoots, lifecycle, served }: ModelRoutesOptions): Hono {
  const app = new Hono();

  app.get(
    '/',
    describeRoute({
      tags,
      summary: 'Registered model versions: their aliases and since when, inputs, output and metrics.',
      responses: { 200: answer('Every version that the client may see.', modelsSchema) },
    }),
    async (c) => {
      const models = await Promise.all(
        lifecycle.models.flatMap((model) => {
          if (!pipelines.usersOf(model).every((user) => mayUse(c, user))) return [];
          const state = lifecycle.get(model);
          return [...state.versions.values()].map((version) => list(state, version));
        }),
      );
      return c.json({ models });
    },
  );

  app.get(
    '/:name',
    describeRoute({
      tags,
      summary: 'A model: its versions, its aliases, and what this process scores with.',
      parameters: [name],
      responses: {
        200: answer('Its present state.', modelSchema),
        ...problems('MODEL_NOT_FOUND', 'REQUEST_TIMEOUT'),
      },
    }),
    (c) => {
      const model = c.req.param('name');
      const state = lifecycle.get(model);
      const { champion, challenger } = served.find(model) ?? {};
      return c.json({
        ...toAliases(state),
        versions: Array.from(state.versions.values(), (version) => toVersion(model, version)),
        serving: {
          champion: champion === undefined ? null : toServed(champion),
          challenger: challenger === undefined ? null : toServed(challenger),
          problems: [...served.problemsOf(model)],
        },
      });
    },
  );

  app.get(
    '/:name/versions/:version',
    describeRoute({
      tags,
      summary: 'A version with its model.json (`manifest`) and its golden rows (`golden`).',
      parameters: [name, pathParameter('version', 'A registered version.')],
      responses: {
        200: answer('The version.', versionDetailsSchema),
        ...problems('MODEL_NOT_FOUND', 'MODEL_INVALID', 'REQUEST_TIMEOUT'),
      },
    }),
    async (c) => {
      const { name: model, version } = c.req.param();
      const registered = lifecycle.get(model).versions.get(version);
      if (registered === undefined) {
        throw new MillraceError('MODEL_NOT_FOUND', `${model} has no version '${version}'.`);
      }
      const { folder } = await findVersion(modelRoots, { name: model, ...registered });
      const { manifest, golden } = await readModel(folder);
      return c.json({ ...toVersion(model, registered), manifest, golden });
    },
  );

  app.delete(
    '/:name/versions/:version',
    describeCommand('Unregister a version. Its folder stays.', undefined, [
      pathParameter('version', 'A registered version.'),
      forceParameter,
    ]),
    async (c) => {
      const { name: model, version } = c.req.param();
      const force = c.req.query('force') === 'true';
      return c.json(toAliases(await lifecycle.unregister(model, version, { force }, source)));
    },
  );

  app.put(
    '/:name/aliases/champion',
    describeCommand('Make a version the champion: it answers.', championSchema),
    async (c) => {
      const { version } = await readJson(c, championSchema);
      return c.json(toAliases(await lifecycle.promote(c.req.param('name'), version, source)));
    },
  );

  app.put(
    '/:name/aliases/challenger',
    describeCommand('Make a version the challenger, or change what the challenger does.', challengerSchema),
    async (c) => {
      const { version, shadow, canary_share: canaryShare } = await readJson(c, challengerSchema);
      const settings = { shadow, canaryShare };
      return c.json(toAliases(await lifecycle.challenge(c.req.param('name'), version, settings, source)));
    },
  );

  app.delete('/:name/aliases/challenger', describeCommand('Remove the challenger.'), async (c) =>
    c.json(toAliases(await lifecycle.clearChallenger(c.req.param('name'), source))),
  );

  app.post('/:name/rollback', describeCommand('Restore the previous champion.'), async (c) =>
    c.json(toAliases(await lifecycle.rollback(c.req.param('name'), source))),
  );

  async function list(
    state: ModelState,
    { version, digest, source: from, registeredAt }: RegisteredVersion,
  ): Promise<ListedVersion> {
    const { champion, challenger } = served.find(state.model) ?? {};
    const serving = [champion, challenger].some((alias) => alias?.version.digest === digest);
    return {
      name: state.model,
      version,
      digest,
      serving,
      aliases: aliasesOf(state, version),
      registered_at: toTime(registeredAt),
      source: from,
      ...(await describeFolder(state.model, version, digest)),
    };
  }

  /** Returns a version's metadata from its folder, or why it is unreadable. */
  async function describeFolder(
    model: string,
    version: string,
    digest: string,
  ): Promise<Partial<ListedVersion>> {
    try {
      const { manifest } = await findVersion(modelRoots, { name: model, version, digest });
      const { description, inputs, output, metrics } = manifest;
      return { description, inputs, output, metrics };
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      return { problem: error.message };
    }
  }
  return app;
}

/** A change of aliases. */
function describeCommand(
  summary: string,
  body?: z.ZodType,
  parameters: readonly Parameter[] = [],
): ReturnType<typeof describeRoute> {
  return describeRoute({
    tags,
    summary: `${summary} It is on the log when this answers; processes follow within a second or so.`,
    parameters: [name, ...parameters],
    ...(body === undefined ? {} : { requestBody: jsonBody(body) }),
    responses: {
      200: answer('The present aliases.', aliasesSchema),
      ...problems(
        'MODEL_NOT_FOUND',
        'MODEL_CONFLICT',
        ...logCodes,
        ...(body === undefined ? [] : (['REQUEST_INVALID', 'CANARY_SHARE_INVALID', ...bodyCodes] as const)),
      ),
    },
  });
}
