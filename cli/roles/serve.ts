import { findPredictions, ping } from '../../analytics/queries.js';
import { createApp } from '../../ingest/app.js';
import { Intake } from '../../ingest/intake.js';
import { type FindStored, PredictionCache } from '../../ingest/prediction-cache.js';
import { serveHttp } from '../../ingest/server.js';
import { ModelRegistrar } from '../../models/registration/registrar.js';
import { modelRoots, registeredModels } from '../../processors/open-pipelines.js';
import { sampleRows } from '../../processors/sample-rows.js';
import type { Context, Role } from '../context.js';

/** The HTTP API. */
export interface ServeRole extends Role {
  port: number;
  intake: Intake;
}

/** @throws MillraceError `PORT_IN_USE` */
export async function startServe(context: Context): Promise<ServeRole> {
  const { config, logger, metrics, health, streams, serde, analytics, pipelines, lifecycle, served } =
    context;
  const findStored: FindStored = (eventIds, signal) => findPredictions(analytics.client, eventIds, signal);
  health.add(
    'look-ups',
    async () => {
      await ping(analytics.client);
      return { status: 'up' };
    },
    { optional: true },
  );
  const cache = new PredictionCache(findStored);
  const producer = await streams.createProducer();
  const intake = new Intake({ producer, serde, cache, metrics, logger });
  const app = createApp({
    pipelines,
    intake,
    cache,
    findStored,
    modelRoots: modelRoots(config),
    lifecycle,
    served,
    registrar: new ModelRegistrar({
      lifecycle,
      root: registeredModels(config),
      roots: modelRoots(config),
      sampleRows: (manifest) => sampleRows(pipelines.values(), manifest),
    }),
    maxModelBytes: config.MAX_MODEL_BYTES,
    health,
    metrics,
    logger,
    apiKeys: config.API_KEYS,
    maxBodyBytes: config.MAX_BODY_BYTES,
    requestTimeoutMs: config.REQUEST_TIMEOUT_MS,
    maxEvents: config.MAX_EVENTS_PER_REQUEST,
  });
  const server = await serveHttp(app, config.HOST, config.PORT);
  return {
    port: server.port,
    intake,
    stop: async () => {
      await server.stop();
      await producer.close();
    },
  };
}
