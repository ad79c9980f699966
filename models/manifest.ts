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
    /** Text → number, for a column that pipelines provide as text. Compared after {@link comparable}. */
    encoding: z
      .record(text, z.number())
      .refine(
        (encoding) => new Set(Object.keys(encoding).map(comparable)).size === Object.keys(encoding).length,
        'names a text twice, but for case or spaces around it',
      )
      .optional(),
    /** Number of a text that is not in `encoding`. Unset: events with such a text cannot be scored. */
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
  /** Labels of a classifier. Unset for a regression. */
  decision: z.strictObject({ threshold: z.number(), below: text, at_or_above: text }).optional(),
});

export const manifestSchema = z.strictObject({
  name: text,
  version: text,
  /** SHA-256 of model.onnx in lowercase hex. */
  digest: z.string().regex(/^[0-9a-f]{64}$/, 'has to be 64 lower-case hex digits'),
  /** SPDX identifier. */
  license: text,
  description: text,
  runtime: z.strictObject({
    format: z.literal('onnx'),
    opsets: z.record(text, z.int()),
    /** The only input of the graph, `[batch, inputs.length]`. */
    input_tensor: text,
    /** Element type of the input tensor. Default float32. Features are 32-bit floats in any case. */
    input_dtype: z.enum(['float32', 'float64']).optional(),
    /** The output to read, `[batch]` or `[batch, 1]`; with `output_column` `[batch, columns]`. */
    output_tensor: text,
    /** Column of the output tensor that holds the score, from 0. For an output with a column per class. */
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

/** Maximum number of invalid fields in an error. */
const maxIssues = 20;

/** Content of `model.json`: inputs, output and intended use of a model. */
export type ModelManifest = z.infer<typeof manifestSchema>;

/** One column of a model's input tensor. */
export type ModelInput = ModelManifest['inputs'][number];

/** Normalizes a text of an encoding for comparison: ignores case and surrounding spaces. */
export function comparable(categoryText: string): string {
  return categoryText.trim().toLowerCase();
}

/** One row of `golden.json`: features in the manifest's order, and the training library's prediction. */
export interface GoldenRow {
  features: number[];
  prediction: number;
}

/**
 * Parses a model.json.
 *
 * @param json - content of `file`. `file` is used only in errors.
 * @throws MillraceError `MODEL_INVALID` with the file and the invalid fields.
 */
export function parseManifest(json: string, file: string): ModelManifest {
  return parse(manifestSchema, json, file);
}

/**
 * Parses a golden.json.
 *
 * @param width - required number of features per row.
 * @throws MillraceError `MODEL_INVALID` with the file and the invalid fields.
 */
export function parseGolden(json: string, file: string, width: number): GoldenRow[] {
  const { rows } = parse(goldenSchema, json, file);
  const odd = rows.findIndex(({ features }) => features.length !== width);
  if (odd !== -1) {
    throw invalid(
      file,
      `rows.${odd}.features has ${rows[odd]?.features.length} values, but the model has ${width} inputs`,
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
    .slice(0, maxIssues)
    .map(({ path, message }) => `${path.join('.') || 'top level'}: ${message}`);
  if (issues.length > maxIssues) told.push(`and ${issues.length - maxIssues} more`);
  throw invalid(file, told.join('; '));
}

function invalid(file: string, problem: string): MillraceError {
  return new MillraceError(
    'MODEL_INVALID',
    `${file} is invalid: ${problem}. Correct it, or export the model again.`,
  );
}
