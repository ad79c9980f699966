import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { SchemaVersion } from './log.js';
import type { Registry } from './registry.js';
import {
  filterOf,
  isLatest,
  isSet,
  readSchema,
  schemaWithId,
  subjectNotFound,
  versionOf,
  versionsWithId,
} from './requests.js';
import { addSettingsRoutes } from './settings-routes.js';
import { reply, replyText } from './responses.js';

const maxBodyBytes = 1024 * 1024;

/** HTTP status and `error_code` of each error, as in Confluent's API. */
const answers: Record<string, [status: number, errorCode: number]> = {
  SUBJECT_NOT_FOUND: [404, 40401],
  VERSION_NOT_FOUND: [404, 40402],
  SCHEMA_NOT_FOUND: [404, 40403],
  SUBJECT_SOFT_DELETED: [404, 40404],
  SUBJECT_NOT_SOFT_DELETED: [404, 40405],
  VERSION_SOFT_DELETED: [404, 40406],
  VERSION_NOT_SOFT_DELETED: [404, 40407],
  LEVEL_NOT_FOUND: [404, 40408],
  MODE_NOT_FOUND: [404, 40409],
  INCOMPATIBLE_SCHEMA: [409, 409],
  BODY_TOO_LARGE: [413, 413],
  BAD_REQUEST: [400, 400],
  INVALID_SCHEMA: [422, 42201],
  INVALID_VERSION: [422, 42202],
  INVALID_LEVEL: [422, 42203],
  INVALID_MODE: [422, 42204],
  OPERATION_NOT_PERMITTED: [422, 42205],
};

/** The routes of Confluent's schema registry API, for Avro without schema references. */
export function createRegistryApp(registry: Registry, logger: Logger): Hono {
  const app = new Hono();
  const { state } = registry;

  app.onError((error, context) => {
    const answer = error instanceof MillraceError ? answers[error.code] : undefined;
    if (answer !== undefined) {
      const [status, errorCode] = answer;
      return reply({ error_code: errorCode, message: error.message }, status);
    }
    logger.error({ err: error, path: context.req.path }, 'schema registry: request failed');
    const message = `Error in the backend data store: ${messageOf(error)}`;
    return reply({ error_code: 50001, message }, 500);
  });
  app.notFound(() => reply({ error_code: 404, message: 'HTTP 404 Not Found' }, 404));
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: () => {
        throw new MillraceError('BODY_TOO_LARGE', `The request body has more than ${maxBodyBytes} bytes.`);
      },
    }),
  );

  app.get('/', () => reply({}));

  app.get('/schemas', (c) => {
    const versions = state
      .subjects(filterOf(c))
      .filter(prefixFilter(c))
      .flatMap((subject) => {
        const all = state.versions(subject, filterOf(c));
        return isSet(c, 'latestOnly') ? all.slice(-1) : all;
      });
    return reply(versions.map(described));
  });
  app.get('/schemas/types', () => reply(['AVRO']));
  // The only context, the default: Redpanda Console requests it.
  app.get('/contexts', () => reply(['.']));
  app.get('/schemas/ids/:id', (c) => reply({ schema: schemaWithId(registry, c).schema }));
  app.get('/schemas/ids/:id/schema', (c) => replyText(schemaWithId(registry, c).schema));
  app.get('/schemas/ids/:id/subjects', (c) => {
    return reply([...new Set(versionsWithId(registry, c).map(({ subject }) => subject))]);
  });
  app.get('/schemas/ids/:id/versions', (c) => {
    return reply(versionsWithId(registry, c).map(({ subject, version }) => ({ subject, version })));
  });

  app.get('/subjects', (c) => reply(state.subjects(filterOf(c)).filter(prefixFilter(c))));
  app.post('/subjects/:subject', async (c) => {
    const { subject } = c.req.param();
    if (state.versions(subject, filterOf(c)).length === 0) throw subjectNotFound(subject);
    const { schema } = await readSchema(c);
    const found = registry.findSame(subject, schema, filterOf(c));
    if (found === undefined) throw new MillraceError('SCHEMA_NOT_FOUND', 'Schema not found');
    return reply(described(found));
  });
  app.delete('/subjects/:subject', async (c) => {
    return reply(await registry.deleteSubject(c.req.param('subject'), isSet(c, 'permanent')));
  });
  app.get('/subjects/:subject/versions', (c) => {
    const { subject } = c.req.param();
    const versions = state.versions(subject, filterOf(c));
    if (versions.length === 0) throw subjectNotFound(subject);
    return reply(versions.map(({ version }) => version));
  });
  app.post('/subjects/:subject/versions', async (c) => {
    const candidate = { ...(await readSchema(c)), normalize: isSet(c, 'normalize') };
    return reply({ id: await registry.register(c.req.param('subject'), candidate) });
  });
  app.get('/subjects/:subject/versions/:version', (c) => reply(described(versionOf(registry, c))));
  app.get('/subjects/:subject/versions/:version/schema', (c) => replyText(versionOf(registry, c).schema));
  app.get('/subjects/:subject/versions/:version/referencedby', (c) => {
    versionOf(registry, c);
    return reply([]);
  });
  app.delete('/subjects/:subject/versions/:version', async (c) => {
    const permanent = isSet(c, 'permanent');
    const target = versionOf(registry, c, true);
    await registry.deleteVersion(target, permanent);
    return reply(target.version);
  });

  const checkCompatibility = async (c: Context, against: SchemaVersion | undefined) => {
    const { schema } = await readSchema(c);
    const messages = registry.checkCompatibility(c.req.param('subject') ?? '', schema, against);
    const verdict = { is_compatible: messages.length === 0 };
    return reply(isSet(c, 'verbose') ? { ...verdict, messages } : verdict);
  };
  app.post('/compatibility/subjects/:subject/versions', (c) => checkCompatibility(c, undefined));
  app.post('/compatibility/subjects/:subject/versions/:version', async (c) => {
    const { subject, version } = c.req.param();
    const latest = state.versions(subject).at(-1);
    // The first version of a subject is always compatible.
    if (isLatest(version) && latest === undefined) return await checkCompatibility(c, undefined);
    return await checkCompatibility(c, isLatest(version) ? latest : versionOf(registry, c));
  });

  addSettingsRoutes(app, registry);
  return app;
}

function described({ subject, version, id, schema }: SchemaVersion): Partial<SchemaVersion> {
  return { subject, version, id, schema };
}

function prefixFilter(context: Context): (subject: string) => boolean {
  const prefix = context.req.query('subjectPrefix') ?? '';
  return (subject) => subject.startsWith(prefix);
}
