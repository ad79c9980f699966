import type { Hono } from 'hono';
import { generateSpecs } from 'hono-openapi';
import { version } from '../../platform/version.js';
import { envelopeSchema } from '../../processors/events/envelope.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import { seededRandom } from '../../processors/pipelines/sampler.js';
import { drawEvent } from '../../schemas/draw-event.js';
import { accesses } from '../middleware/authorization.js';
import {
  aimqProblems,
  failureComponents,
  type Failures,
  inferenceErrors,
  type Json,
  problems,
  toJsonSchema,
} from './describe.js';

type Paths = Record<string, Record<string, Json>>;

/**
 * Returns the OpenAPI 3.1 document of an app, from the descriptions and the schemas beside its routes. Each
 * pipeline has its own operations, with the schema that validates its events.
 */
export async function openApiDocument(
  app: Hono,
  pipelines: readonly OpenPipeline[],
  keysRequired: boolean,
): Promise<Json> {
  const schemas: Record<string, Json> = {
    ...failureComponents,
    ...Object.fromEntries(pipelines.map((pipeline) => [eventName(pipeline), eventSchema(pipeline)])),
  };
  const document = await generateSpecs(app, {
    documentation: {
      info: {
        title: 'Millrace',
        version,
        description: 'Scores events with machine-learning models while they stream.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: {
        schemas,
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer' },
          api_key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        },
      },
    },
  });
  const { tags: _, ...rest } = document;
  const paths = withAccess(document.paths as Paths, keysRequired);
  return { ...rest, paths: forEachPipeline(paths, pipelines) };
}

/** By the pipeline: contracts of several may have one name. */
function eventName({ name }: OpenPipeline): string {
  return `${name.replaceAll(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase())}Event`;
}

function eventSchema({ scorer, pipeline, event }: OpenPipeline): Json {
  return {
    ...toJsonSchema(scorer.schema.extend({ ...envelopeSchema.shape, ...scorer.schema.shape })),
    examples: [sampled(pipeline) ?? drawEvent(event, seededRandom(1))],
  };
}

/**
 * Returns nothing if there is no sample, or its code fails: the document is also that of the other pipelines.
 */
function sampled({ sample }: OpenPipeline['pipeline']): object | undefined {
  try {
    return sample?.(seededRandom(1), exampleTime);
  } catch {
    return undefined;
  }
}

const exampleTime = Date.UTC(2026, 0, 31, 12);

/**
 * Returns a path for one pipeline with its events; nothing if it does not serve. Other paths are left as they
 * are.
 */
function ofOnePipeline(
  path: string,
  operations: Paths[string],
  pipelines: readonly OpenPipeline[],
): [string, Paths[string]][] {
  const name = accesses.find((access) => access.path === path)?.pipeline;
  if (name === undefined) return [[path, operations]];
  const pipeline = pipelines.find((each) => each.name === name);
  if (pipeline === undefined) return [];
  return [[path, mapValues(operations, (operation) => withEventOf(operation, pipeline))]];
}

/** Replaces a path with the pipeline as its parameter by one path per pipeline. */
function forEachPipeline(paths: Paths, pipelines: readonly OpenPipeline[]): Paths {
  return Object.fromEntries(
    Object.entries(paths).flatMap<[string, Paths[string]]>(([path, operations]) =>
      path.includes('{pipeline}')
        ? pipelines.map((pipeline) => [
            path.replace('{pipeline}', pipeline.name),
            mapValues(operations, (operation) => ofPipeline(operation, pipeline)),
          ])
        : ofOnePipeline(path, operations, pipelines),
    ),
  );
}

function ofPipeline(operation: Json, pipeline: OpenPipeline): Json {
  const { parameters, ...rest } = withEventOf(operation, pipeline) as Json & {
    parameters: { name: string }[];
  };
  return { ...rest, tags: [pipeline.name], parameters: parameters.filter(({ name }) => name !== 'pipeline') };
}

function withEventOf(operation: Json, pipeline: OpenPipeline): Json {
  const text = JSON.stringify(operation)
    .replaceAll('"#/components/schemas/Event"', `"#/components/schemas/${eventName(pipeline)}"`)
    .replace('ByPipeline', eventName(pipeline).replace(/Event$/, ''));
  return JSON.parse(text) as Json;
}

const security = [{ bearer: [] }, { api_key: [] }];

/** Adds to every operation that is not public the scopes of its key, and its refusals. */
function withAccess(paths: Paths, keysRequired: boolean): Paths {
  return Object.fromEntries(
    Object.entries(paths).map(([path, operations]) => [
      path,
      mapValues(operations, (operation, method) => {
        const pattern = path.replaceAll(/\{(\w+)\}/g, ':$1');
        const access = accesses.find((each) => each.method === method.toUpperCase() && each.path === pattern);
        if (access === undefined) return operation;
        const scopes = access.scopes.map((scope) => `\`${scope}\``).join(' or ');
        return {
          ...operation,
          description: `If API keys are required: a key with the scope ${scopes}.`,
          security: keysRequired ? security : [{}, ...security],
          responses: {
            ...failuresOf(path)('API_KEY_REQUIRED', 'FORBIDDEN', 'RATE_LIMITED'),
            ...(operation['responses'] as Json),
          },
        };
      }),
    ]),
  );
}

/** Returns the form of a path's error answers. */
function failuresOf(path: string): Failures {
  if (path === '/v2' || path.startsWith('/v2/')) return inferenceErrors;
  return path.startsWith('/v1/') ? problems : aimqProblems;
}

function mapValues(
  object: Record<string, Json>,
  map: (value: Json, key: string) => Json,
): Record<string, Json> {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value, key)]));
}
