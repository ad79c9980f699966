import { z } from 'zod';
import { MillraceError, messageOf } from '../platform/errors.js';

const text = z.string().min(1);

const inputSchema = z
  .strictObject({
    name: text,
    dtype: z.literal('float32'),
    meaning: text,
    /** Lowest and highest value seen in training. */
    range: z.tuple([z.number(), z.number()]).optional(),
    /** Code → meaning, for a column of codes. */
    categories: z.record(text, text).optional(),
    /** Text → number, for a column that pipelines give as text; texts are compared as {@link comparable} has them. */
    encoding: z
      .record(text, z.number())
      .refine(
        (encoding) => new Set(Object.keys(encoding).map(comparable)).size === Object.keys(encoding).length,
        'names a text twice, but for case or spaces around it',
      )
      .optional(),
    /** The number of a text that `encoding` does not have. None: an event with such a text can't be scored. */
    unknown: z.number().optional(),
  })
  .refine(({ encoding, unknown }) => encoding !== undefined || unknown === undefined, {
    message: 'needs an encoding for unknown to stand beside',
    path: ['unknown'],
  });

const outputSchema = z.strictObject({
  name: text,
  dtype: z.enum(['float32', 'float64']),
  meaning: text,
  /** For a model that decides: which label a score gets. None for a regression. */
  decision: z.strictObject({ threshold: z.number(), below: text, at_or_above: text }).optional(),
});

export const manifestSchema = z.strictObject({
  name: text,
  version: text,
  /** SHA-256 of model.onnx in lower-case hex. */
  digest: z.string().regex(/^[0-9a-f]{64}$/, 'has to be 64 lower-case hex digits'),
  /** SPDX identifier. */
  license: text,
  description: text,
  runtime: z.strictObject({
    format: z.literal('onnx'),
    opsets: z.record(text, z.int()),
    /** The graph's only input, `[batch, inputs.length]`. */
    input_tensor: text,
    /** What the input tensor is made of. Default float32; features are 32-bit floats all the same. */
    input_dtype: z.enum(['float32', 'float64']).optional(),
    /** The graph's output that is read, `[batch]` or `[batch, 1]`; with `output_column` `[batch, columns]`. */
    output_tensor: text,
    /** The column of the output tensor that is the score, from 0: for one that has a column for each class. */
    output_column: z.int().min(0).optional(),
  }),
  /** In the order of the input tensor's columns. */
  inputs: z
    .array(inputSchema)
    .min(1)
    .refine(
      (inputs) => new Set(inputs.map(({ name }) => name)).size === inputs.length,
      'names an input twice',
    ),
  output: outputSchema,
  metrics: z.record(text, z.unknown()),
  training_data: z
    .looseObject({ source: text, license: text, rows: z.int().positive(), target: text })
    .optional(),
  training: z.record(text, z.unknown()).optional(),
  model_card: z.looseObject({ intended_use: text, limits: z.array(text) }),
});

export const goldenSchema = z.strictObject({
  rows: z.array(z.strictObject({ features: z.array(z.number()), prediction: z.number() })).min(1),
});

/** Wrong fields that an error names. */
const maxTold = 20;

/** The content of `model.json`: what a model takes, gives, and is good for. */
export type ModelManifest = z.infer<typeof manifestSchema>;

/** One column of a model's input tensor. */
export type ModelInput = ModelManifest['inputs'][number];

/** A text of an encoding as it is compared: case and the spaces around it don't matter. */
export function comparable(categoryText: string): string {
  return categoryText.trim().toLowerCase();
}

/** One row of `golden.json`: features in the manifest's order, and the training library's own prediction for them. */
export interface GoldenRow {
  features: number[];
  prediction: number;
}

/**
 * @param json - the text of `file`, which is only named in errors.
 * @throws MillraceError `MODEL_INVALID` that names the file and each wrong field, if they are not too many.
 */
export function parseManifest(json: string, file: string): ModelManifest {
  return parse(manifestSchema, json, file);
}

/**
 * @param width - how many features each row has to have.
 * @throws MillraceError `MODEL_INVALID` that names the file and each wrong field.
 */
export function parseGolden(json: string, file: string, width: number): GoldenRow[] {
  const { rows } = parse(goldenSchema, json, file);
  const odd = rows.findIndex(({ features }) => features.length !== width);
  if (odd !== -1) {
    throw invalid(
      file,
      `rows.${odd}.features has ${rows[odd]?.features.length} values, the model takes ${width}`,
    );
  }
  return rows;
}

function parse<T>(schema: z.ZodType<T>, json: string, file: string): T {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw invalid(file, `not JSON: ${messageOf(error)}`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { issues } = result.error;
  const told = issues
    .slice(0, maxTold)
    .map(({ path, message }) => `${path.join('.') || 'top level'}: ${message}`);
  if (issues.length > maxTold) told.push(`and ${issues.length - maxTold} more`);
  throw invalid(file, told.join('; '));
}

function invalid(file: string, problem: string): MillraceError {
  return new MillraceError(
    'MODEL_INVALID',
    `${file} is wrong: ${problem}. Correct it, or export the model again.`,
  );
}
