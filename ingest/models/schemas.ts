import { z } from 'zod';
import { goldenSchema, manifestSchema } from '../../models/manifest.js';
import { time } from '../openapi/describe.js';

const modelEvent = z.int().describe('Offset of the alias event on millrace.models.');
const canaryShare = z.number().min(0).max(1).describe('Share of the record keys whose events it answers.');
const shadow = z.boolean().describe('Whether it scores all other events too, for comparison.');
const digest = z
  .string()
  .describe(
    'SHA-256 of the graph with its runtime, inputs and outputs in model.json, in lower-case hex. Of a version that a release before 0.2 registered: of model.onnx alone.',
  );

/** Body of `PUT …/aliases/champion`. */
export const championSchema = z.strictObject({ version: z.string() });

/** Body of `PUT …/aliases/challenger`. */
export const challengerSchema = z.strictObject({
  version: z.string(),
  shadow: shadow.default(false),
  canary_share: canaryShare.default(0),
});

export const versionSchema = z
  .object({
    model: z.string(),
    version: z.string(),
    digest,
    source: z.string().describe('What registered it.'),
    registered_at: time,
  })
  .meta({ id: 'ModelVersion' });

export type VersionAnswer = z.infer<typeof versionSchema>;

export const registeredSchema = versionSchema
  .extend({
    existed: z.boolean().describe('Whether the same version was registered before.'),
    sample_events: z
      .int()
      .nullable()
      .describe('Number of sample events of pipelines that it scored; null if it was not checked again.'),
  })
  .meta({ id: 'RegisteredVersion' });

export const versionDetailsSchema = versionSchema
  .extend({ manifest: manifestSchema.describe('The content of model.json.'), golden: goldenSchema })
  .meta({ id: 'ModelVersionDetails' });

const aliasSchema = z
  .object({
    version: z.string(),
    digest,
    previous_version: z.string().nullable().describe('What the alias named before.'),
    model_event: modelEvent,
    model_event_at: time,
  })
  .meta({ id: 'ModelAlias' });

export type AliasAnswer = z.infer<typeof aliasSchema>;

export const aliasesSchema = z
  .object({
    model: z.string(),
    champion: aliasSchema.nullable(),
    challenger: aliasSchema
      .extend({ shadow, canary_share: canaryShare })
      .meta({ id: 'ModelChallenger' })
      .nullable(),
  })
  .meta({ id: 'ModelAliases' });

export type AliasesAnswer = z.infer<typeof aliasesSchema>;

const servedSchema = z
  .object({
    version: z.string(),
    digest,
    model_event: modelEvent.describe('Offset of the alias event on millrace.models; -1: not known.'),
    model_event_at: time.nullable(),
  })
  .meta({ id: 'ServedVersion' });

export type ServedAnswer = z.infer<typeof servedSchema>;

export const modelSchema = aliasesSchema
  .extend({
    versions: z.array(versionSchema),
    serving: z
      .object({
        champion: servedSchema.nullable().describe('`null`: no version is loaded.'),
        challenger: servedSchema.nullable(),
        problems: z
          .array(z.string())
          .describe('Why this process does not serve a version that it should serve.'),
      })
      .describe('What this process scores with.'),
  })
  .meta({ id: 'Model' });

const listedAlias = z.object({
  since: time,
  model_event: modelEvent,
  previous_version: z.string().nullable(),
});

export const listedVersionSchema = z
  .object({
    name: z.string().describe('Of the model.'),
    version: z.string(),
    digest,
    serving: z.boolean().describe('Whether it scores in this process.'),
    aliases: z.array(
      z.discriminatedUnion('alias', [
        listedAlias.extend({ alias: z.literal('champion') }),
        listedAlias.extend({ alias: z.literal('challenger'), shadow, canary_share: canaryShare }),
      ]),
    ),
    registered_at: time,
    source: z.string().describe('What registered it.'),
    description: manifestSchema.shape.description.optional(),
    inputs: manifestSchema.shape.inputs.optional(),
    output: manifestSchema.shape.output.optional(),
    metrics: manifestSchema.shape.metrics.optional(),
    problem: z.string().optional().describe('Why its files can’t be read.'),
  })
  .meta({ id: 'ListedModelVersion' });

export type ListedVersion = z.infer<typeof listedVersionSchema>;

export const modelsSchema = z.object({ models: z.array(listedVersionSchema) });
