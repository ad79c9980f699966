import { Hono } from 'hono';
import { listModels } from '../../models/registry.js';
import type { OpenPipeline } from '../../processors/open-pipelines.js';

/** `/v1/models`: every version on disk, and which of them serve. */
export function modelRoutes(modelsRoot: string, pipelines: ReadonlyMap<string, OpenPipeline>): Hono {
  const app = new Hono();
  app.get('/', async (c) => {
    const serving = new Set(
      [...pipelines.values()].flatMap(({ scorer }) => scorer.models.map(({ digest }) => digest)),
    );
    const models = (await listModels(modelsRoot)).map(({ name, version, manifest }) => ({
      name,
      version,
      digest: manifest.digest,
      description: manifest.description,
      serving: serving.has(manifest.digest),
      inputs: manifest.inputs,
      output: manifest.output,
      metrics: manifest.metrics,
    }));
    return c.json({ models });
  });
  return app;
}
