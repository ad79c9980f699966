import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import { versionFiles } from '../../models/registration/install.js';
import { receiveVersion } from './receive-version.js';
import type { ModelRegistrar } from '../../models/registration/registrar.js';
import { clientOf } from '../middleware/authentication.js';
import { answer, pathParameter, problems } from '../openapi/describe.js';
import { source, toVersion } from './answers.js';
import { registeredSchema } from './schemas.js';

export interface ModelUploadOptions {
  registrar: ModelRegistrar;
  /** Maximum file size of a version, bytes. */
  maxModelBytes: number;
}

const file = { type: 'string', format: 'binary' } as const;

const describe = describeRoute({
  tags: ['models'],
  summary: 'Check a model version and register it. It does not serve yet.',
  parameters: [pathParameter('name', 'The model.')],
  requestBody: {
    required: true,
    content: {
      'multipart/form-data': {
        schema: {
          type: 'object',
          required: [...versionFiles],
          properties: {
            ...Object.fromEntries(versionFiles.map((name) => [name, file])),
            source: { type: 'string', description: 'Where it comes from. Default `millrace/http`.' },
          },
        },
      },
    },
  },
  responses: {
    201: answer('It is registered.', registeredSchema),
    200: answer('The same version was registered before.', registeredSchema),
    ...problems(
      'UPLOAD_INVALID',
      'MODEL_NOT_FOUND',
      'MODEL_CONFLICT',
      'BODY_TOO_LARGE',
      'MODEL_REFUSED',
      'MODEL_INVALID',
      'MODEL_NOT_REGISTERED',
      'LOG_UNAVAILABLE',
      'LOG_TIMEOUT',
    ),
  },
});

/** `POST /v1/models/{name}/versions`: has its own limits, so it comes before the limits of other routes. */
export function modelUploadRoutes({ registrar, maxModelBytes }: ModelUploadOptions): Hono {
  const app = new Hono();
  app.post('/:name/versions', describe, async (c) => {
    const model = c.req.param('name');
    let importedFrom: string | undefined;
    const receive = async (folder: string): Promise<void> => {
      const contentType = c.req.header('content-type') ?? '';
      const fields = await receiveVersion(c.req.raw.body, { contentType, folder, maxBytes: maxModelBytes });
      importedFrom = fields.get('source');
    };
    const sender = { client: clientOf(c)?.id ?? '', source: () => importedFrom ?? source };
    const { version, existed, sampleEvents } = await registrar.register(model, receive, sender);
    return c.json(
      { ...toVersion(model, version), existed, sample_events: sampleEvents },
      existed ? 200 : 201,
    );
  });
  return app;
}
