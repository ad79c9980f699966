import { type Context, Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { MillraceError } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import type { ModelLifecycle } from '../models/lifecycle/lifecycle.js';
import type { ServedModels } from '../models/lifecycle/served-models.js';
import type { ModelRegistrar } from '../models/registration/registrar.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import type { ScheduleRuns } from '../processors/schedules/schedule-runs.js';
import type { Schedule } from '../processors/schedules/schedule.js';
import type { ApiKeys } from './api-keys/api-keys.js';
import { clientOf, identifyClient } from './middleware/authentication.js';
import { authorize } from './middleware/authorization.js';
import { refuseOtherSites } from './middleware/refuse-other-sites.js';
import type { FileJobs } from './jobs/file-jobs.js';
import type { EventAcceptor } from '../processors/events/accept-events.js';
import { limitBody } from './middleware/limit-body.js';
import { limitTime } from './middleware/limit-time.js';
import { limitRequests } from './middleware/limit-requests.js';
import { openApiDocument } from './openapi/document.js';
import { measureRequests } from './middleware/measure-requests.js';
import type { FindStored, PredictionCache } from '../processors/events/prediction-cache.js';
import { sendProblem } from './problems.js';
import { aimqErrors, aimqRoutes } from './aimq/predict.js';
import type { RateLimits } from './middleware/rate-limits.js';
import { isBodyMissing } from './request-body.js';
import { aimqUpload } from './aimq/upload.js';
import { docs } from './openapi/docs.js';
import { fileRoutes } from './files/routes.js';
import { modelUploadRoutes } from './models/upload.js';
import { inferenceHealth, inferenceRoutes } from './inference/routes.js';
import { jobRoutes } from './jobs/routes.js';
import { modelRoutes } from './models/routes.js';
import { operations, type OperationsOptions } from './operations/routes.js';
import { pipelineRoutes } from './pipelines/routes.js';
import { predictionRoutes, type PredictionRoutesOptions } from './predictions/routes.js';
import { scheduleRoutes } from './schedules/routes.js';
import { isTracing } from '../platform/tracing/traces.js';
import { spanOf, traceRequests } from './middleware/trace-requests.js';

export interface AppOptions extends OperationsOptions {
  pipelines: Pipelines;
  acceptor: EventAcceptor;
  cache: PredictionCache;
  findStored: FindStored;
  findDeadLetters: PredictionRoutesOptions['findDeadLetters'];
  jobs: FileJobs;
  /** Folders with model versions; the first that has a version takes precedence. */
  modelRoots: readonly string[];
  lifecycle: ModelLifecycle;
  served: ServedModels;
  registrar: ModelRegistrar;
  /** Maximum file size of a model version, bytes. */
  maxModelBytes: number;
  schedules: readonly Schedule[];
  scheduleRuns: ScheduleRuns;
  logger: Logger;
  apiKeys: ApiKeys;
  /** Listening address. */
  host: string;
  /** Limit of a client. Unset: no limit. */
  limits: RateLimits | undefined;
  /** Proxies in front that add to `X-Forwarded-For`. */
  trustProxy: number;
  /** Maximum request body, bytes. */
  maxBodyBytes: number;
  /** Time limit of a request, milliseconds. */
  requestTimeoutMs: number;
  /** Maximum events of one request. */
  maxEvents: number;
}

/** Paths for programs, and not for people or probes. */
const calls = ['/v1/*', '/v2/*', '/predict', '/predict/*', '/upload'];

/** Creates the HTTP API. It opens no port: `app.request()` answers in process. */
export function createApp(options: AppOptions): Hono {
  const { pipelines, acceptor, cache, findStored, logger, metrics } = options;
  // `/v2/` is `/v2`.
  const app = new Hono({ strict: false });
  app.use(measureRequests(metrics));
  app.onError((error, c) => {
    const own = error instanceof HTTPException ? error.cause : error;
    if (!(own instanceof MillraceError))
      logger.error(
        {
          err: error,
          path: c.req.path,
          client: clientOf(c)?.name,
          trace_id: spanOf(c)?.spanContext().traceId,
        },
        'a request failed',
      );
    return sendProblem(c, own);
  });
  app.notFound((c) =>
    sendProblem(c, new MillraceError('NOT_FOUND', `There is no ${c.req.method} ${c.req.path}. See /docs.`)),
  );

  // Before the limits: a refused probe would make a busy process look dead.
  app.route('/', operations(options));
  app.route('/v2/health', inferenceHealth(options.health));
  if (isTracing()) for (const path of calls) app.use(path, traceRequests());
  if (!options.apiKeys.required) app.use(refuseOtherSites(options.host));
  app.use(identifyClient(options.apiKeys));
  // Around everything that may refuse a request there.
  for (const path of ['/predict', '/predict/*', '/upload']) app.use(path, aimqErrors());
  if (options.limits !== undefined) app.use(limitRequests(options.limits, options.trustProxy));
  app.route('/docs', docs());
  app.get('/', (c) => c.redirect('/docs'));
  // The path of AIMQ's page.
  app.get('/swagger/*', (c) => c.redirect('/docs'));
  let document: Promise<object> | undefined;
  let revision: number | undefined;
  app.get('/openapi.json', async (c) => {
    if (revision !== pipelines.revision) document = undefined;
    revision = pipelines.revision;
    document ??= openApiDocument(app, [...pipelines.values()], options.apiKeys.required).catch(
      (error: unknown) => {
        document = undefined;
        throw error;
      },
    );
    return c.json(await document);
  });

  authorize(app, pipelines, logger);
  // Before the limits of body and time: files have their own.
  app.route('/v1/pipelines', fileRoutes(pipelines, options.jobs, options));
  app.route('/upload', aimqUpload(pipelines, options.jobs, options));
  app.route('/v1/models', modelUploadRoutes(options));
  for (const path of ['/v1/*', '/v2/*', '/predict', '/predict/*']) {
    app.use(
      path,
      limitBody(options.maxBodyBytes, (c) => sendProblem(c, bodyTooLarge(options))),
    );
    app.use(
      path,
      limitTime(options.requestTimeoutMs, (c) => tooLate(c, options)),
    );
  }
  app.route('/v2', inferenceRoutes(pipelines, acceptor, options));
  app.route('/v1/pipelines', pipelineRoutes(pipelines, acceptor, options));
  app.route('/v1/jobs', jobRoutes(options.jobs));
  app.route('/v1/models', modelRoutes(options));
  app.route('/', aimqRoutes(pipelines, acceptor, options));
  app.route('/v1/schedules', scheduleRoutes(options.schedules, options.scheduleRuns));
  app.route(
    '/v1/predictions',
    predictionRoutes({
      findStored,
      findDeadLetters: options.findDeadLetters,
      recall: (eventId, names) => cache.recallAnywhere(names, eventId),
      pipelines: () => pipelines.names,
    }),
  );
  return app;
}

function bodyTooLarge({ maxBodyBytes }: AppOptions): MillraceError {
  return new MillraceError(
    'BODY_TOO_LARGE',
    `A body has at most ${maxBodyBytes} bytes. Send the events in several requests, or raise MAX_BODY_BYTES.`,
  );
}

function tooLate(c: Context, { requestTimeoutMs }: AppOptions): HTTPException {
  if (isBodyMissing(c)) {
    const problem = `The body was not here in ${requestTimeoutMs} ms. Send it again, faster or in parts.`;
    return new HTTPException(408, { cause: new MillraceError('BODY_TIMEOUT', problem) });
  }
  const problem = `The request was not done in ${requestTimeoutMs} ms. Send it again with the same event ids or Idempotency-Key: what did get through is not doubled.`;
  return new HTTPException(503, {
    cause: new MillraceError('REQUEST_TIMEOUT', problem),
  });
}
