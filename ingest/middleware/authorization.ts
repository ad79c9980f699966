import type { Context, Hono, MiddlewareHandler } from 'hono';
import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import type { Scope } from '../api-keys/api-keys.js';
import { clientOf, refusalOf } from './authentication.js';
import { sendProblem } from '../problems.js';

/** Access to a route: clients that have one of the scopes, and access to the pipeline in the path. */
export interface Access {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  scopes: readonly Scope[];
  /** The pipeline of a route that has none in its path. */
  pipeline?: string;
}

/** The pipeline of the routes in AIMQ's form. */
export const aimqPipeline = 'car-price';

/** Every route that is not public. A missing one is refused to all if keys are required. */
export const accesses: readonly Access[] = [
  { method: 'GET', path: '/v1/pipelines', scopes: ['read', 'score'] },
  { method: 'POST', path: '/v1/pipelines/:pipeline/predict', scopes: ['score'] },
  { method: 'POST', path: '/v1/pipelines/:pipeline/events', scopes: ['score'] },
  { method: 'POST', path: '/v1/pipelines/:pipeline/files', scopes: ['score'] },
  { method: 'POST', path: '/predict', scopes: ['score'], pipeline: aimqPipeline },
  { method: 'POST', path: '/predict/onnx', scopes: ['score'], pipeline: aimqPipeline },
  { method: 'POST', path: '/upload', scopes: ['score'], pipeline: aimqPipeline },
  { method: 'GET', path: '/v1/jobs', scopes: ['score', 'jobs'] },
  { method: 'GET', path: '/v1/jobs/:jobId', scopes: ['score', 'jobs'] },
  { method: 'GET', path: '/v1/jobs/:jobId/events', scopes: ['score', 'jobs'] },
  { method: 'GET', path: '/v1/jobs/:jobId/result', scopes: ['score', 'jobs'] },
  { method: 'GET', path: '/v1/predictions/:eventId', scopes: ['read'] },
  { method: 'GET', path: '/v1/schedules', scopes: ['read'] },
  { method: 'GET', path: '/v1/models', scopes: ['read', 'models'] },
  { method: 'GET', path: '/v1/models/:name', scopes: ['read', 'models'] },
  { method: 'GET', path: '/v1/models/:name/versions/:version', scopes: ['read', 'models'] },
  { method: 'POST', path: '/v1/models/:name/versions', scopes: ['models'] },
  { method: 'DELETE', path: '/v1/models/:name/versions/:version', scopes: ['models'] },
  { method: 'PUT', path: '/v1/models/:name/aliases/champion', scopes: ['models'] },
  { method: 'PUT', path: '/v1/models/:name/aliases/challenger', scopes: ['models'] },
  { method: 'DELETE', path: '/v1/models/:name/aliases/challenger', scopes: ['models'] },
  { method: 'POST', path: '/v1/models/:name/rollback', scopes: ['models'] },
  { method: 'GET', path: '/v2', scopes: ['read', 'score'] },
  { method: 'GET', path: '/v2/models/:model', scopes: ['read', 'score'] },
  { method: 'GET', path: '/v2/models/:model/ready', scopes: ['read', 'score'] },
  { method: 'POST', path: '/v2/models/:model/infer', scopes: ['score'] },
  { method: 'GET', path: '/v2/models/:model/versions/:version', scopes: ['read', 'score'] },
  { method: 'GET', path: '/v2/models/:model/versions/:version/ready', scopes: ['read', 'score'] },
  { method: 'POST', path: '/v2/models/:model/versions/:version/infer', scopes: ['score'] },
];

const allowedKey = 'allowed';

/** Guards every path below these: a request is passed on when its client has access. */
export const guardedPaths = ['/v1/*', '/v2/*', '/predict', '/predict/*', '/upload'];

/** Puts the guards of {@link accesses} before later routes. */
export function authorize(app: Hono, pipelines: Pipelines, logger: Logger): void {
  for (const access of accesses) app.on(access.method, access.path, guard(access, pipelines, logger));
  for (const path of guardedPaths) app.use(path, refuseOthers());
}

/** Whether the client of a request has access to a pipeline. */
export function mayUse(c: Context, pipeline: string): boolean {
  const { pipelines } = clientOf(c) ?? { pipelines: new Set<string>() };
  return pipelines === undefined || pipelines.has(pipeline);
}

function guard({ scopes, pipeline }: Access, pipelines: Pipelines, logger: Logger): MiddlewareHandler {
  return async (c, next) => {
    const client = clientOf(c);
    if (client === undefined) return sendProblem(c, refusalOf(c));
    if (!scopes.some((scope) => client.scopes.has(scope))) {
      const problem = `The API key '${client.name}' may not do this: it needs the scope ${scopes.join(' or ')}, and has ${[...client.scopes].join(', ')}.`;
      return sendProblem(c, new MillraceError('FORBIDDEN', problem));
    }
    const named = pipelinesNamed(c, pipelines, pipeline);
    if (client.pipelines !== undefined && named?.every((name) => mayUse(c, name)) === false) {
      const problem = `The API key '${client.name}' is for ${[...client.pipelines].join(', ')} only.`;
      return sendProblem(c, new MillraceError('FORBIDDEN', problem));
    }
    c.set(allowedKey, true);
    await next();
    if (client.name !== '' && scopes.includes('models') && c.req.method !== 'GET') {
      const { method, path } = c.req;
      logger.info({ client: client.name, method, path, status: c.res.status }, 'a client changed models');
    }
    return undefined;
  };
}

/** If keys are required, a route without a guard is refused. */
function refuseOthers(): MiddlewareHandler {
  return (c, next) => {
    const client = clientOf(c);
    if (client !== undefined && (client.name === '' || c.get(allowedKey) === true)) return next();
    const refusal =
      client === undefined
        ? refusalOf(c)
        : new MillraceError('NOT_FOUND', `There is no ${c.req.method} ${c.req.path}. See /docs.`);
    return Promise.resolve(sendProblem(c, refusal));
  };
}

/** Returns the pipelines of a path; an unknown name is returned unchanged. Undefined: none in particular. */
function pipelinesNamed(
  c: Context,
  pipelines: Pipelines,
  pipeline: string | undefined,
): readonly string[] | undefined {
  const name = pipeline ?? c.req.param('pipeline');
  if (name !== undefined) return [name];
  const inference = c.req.param('model');
  if (inference !== undefined && pipelines.names.includes(inference)) return [inference];
  const model = inference ?? c.req.param('name');
  if (model === undefined) return undefined;
  const users = pipelines.usersOf(model);
  return users.length === 0 ? [model] : users;
}
