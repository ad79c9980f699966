import { z } from 'zod';
import { toJsonSchema } from '../openapi/describe.js';

/**
 * Maximum number of tensors, outputs and dimensions: a model has a few dozen, and each would cause a problem.
 */
const maxListed = 1_000;

/** A list whose elements are not validated here: zod would make an object of each. */
const anyList = z.custom<unknown[]>(Array.isArray, 'is no list').meta({ type: 'array' });

/** A list that is validated only when it is not too long. */
function listOf<Item extends z.ZodType>(item: Item, minItems = 0) {
  return anyList
    .refine(({ length }) => length <= maxListed, `has more than ${maxListed} elements`)
    .pipe(z.array(item))
    .meta({ type: 'array', minItems, maxItems: maxListed, items: toJsonSchema(item) });
}

const datatype = z.string().meta({ examples: ['FP64', 'INT32', 'BYTES', 'BOOL'] });

const inputSchema = z.object({
  name: z.string(),
  shape: listOf(z.int().min(0), 1)
    .refine((shape) => shape.length > 0, 'has no dimension')
    .describe('[N] or [N, 1]: one element per row; [N, n, …] for a list in each row.'),
  datatype,
  parameters: z.looseObject({ binary_data_size: z.unknown().optional() }).nullish(),
  data: anyList.nullish().describe('Required: binary data is not read here.'),
});

/** A request of the Open Inference Protocol. */
export const inferRequestSchema = z
  .object({
    id: z.string().nullish().describe('Comes back in the answer.'),
    parameters: z.looseObject({}).nullish(),
    inputs: listOf(inputSchema, 1).refine((inputs) => inputs.length > 0, 'are none'),
    outputs: listOf(z.object({ name: z.string() }))
      .nullish()
      .describe(
        'Default: score, and label where the model classifies. Any output of the metadata, `event_id` and `prediction_id` can be asked for.',
      ),
  })
  .meta({ id: 'InferRequest' });

export type InferRequest = z.infer<typeof inferRequestSchema>;
export type InputTensor = InferRequest['inputs'][number];

const tensorInfoSchema = z
  .object({
    name: z.string(),
    datatype,
    shape: z.array(z.int()).describe('[N, …]; -1 for any length.'),
    parameters: z.object({ classes: z.array(z.string()).describe('Names of the columns.') }).optional(),
  })
  .meta({ id: 'TensorInfo' });

/** A tensor's name, element type and shape; -1 is the batch. */
export type TensorInfo = z.infer<typeof tensorInfoSchema>;

export const serverSchema = z.object({
  name: z.string(),
  version: z.string(),
  extensions: z.array(z.string()),
});

export const liveSchema = z.object({ live: z.boolean() });
export const readySchema = z.object({ live: z.boolean(), ready: z.boolean() });
export const modelReadySchema = z.object({ name: z.string(), ready: z.boolean() });

export const modelMetadataSchema = z
  .object({
    name: z.string(),
    versions: z.array(z.string()),
    platform: z.string(),
    inputs: z.array(tensorInfoSchema),
    outputs: z.array(tensorInfoSchema),
  })
  .meta({ id: 'ModelMetadata' });

export const inferenceSchema = z
  .object({
    model_name: z.string(),
    model_version: z.string().optional().describe('Missing where rows have different versions.'),
    id: z.string().optional(),
    outputs: z.array(tensorInfoSchema.extend({ data: z.array(z.unknown()) })),
  })
  .meta({ id: 'Inference' });
