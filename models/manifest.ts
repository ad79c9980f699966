import { z } from 'zod';
import { MillraceError, messageOf } from '../platform/errors.js';
import { JsonFile, lineOfSyntaxError } from '../platform/json-file.js';
import { checkManifest } from './manifest-checks.js';
import { dtypes } from './tensors.js';

const text = z.string().min(1);
const dtype = z.enum(dtypes);
const names = z
  .array(text)
  .min(2)
  .refine((classes) => new Set(classes).size === classes.length, 'names a class twice');

const inputSchema = z
  .strictObject({
    name: text,
    /** Type of the values, and element type of the tensor unless `input_dtype` sets another. */
    dtype,
    /**
     * Input of the graph. Several inputs of one tensor are its columns, in order. Default: see
     * `input_tensor`.
     */
    tensor: text.optional(),
    /** Dimensions of one value, such as `[24]` or `[1, 24]`. Default: a scalar. */
    shape: z.array(z.int().positive()).min(1).optional(),
    /**
     * What a missing value (null or NaN, also as an element of an array) becomes: an error of the event
     * (`refuse`, the default), NaN (`nan`, for floating-point inputs), or this value.
     */
    missing: z.union([z.number(), z.string(), z.boolean()]).optional(),
    meaning: text.optional(),
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
  dtype: dtype.refine(
    (type) => type !== 'string',
    'is string, but the main output gives the score: a number',
  ),
  meaning: text.optional(),
  /** Labels of a classifier with one number. Unset for a regression, and for `classes`. */
  decision: z.strictObject({ threshold: z.number(), below: text, at_or_above: text }).optional(),
  /** Names of the columns of an output with a probability for each class, in order. */
  classes: names.optional(),
  /**
   * Whether the output is a probability, which is checked. Default: `probability` with `classes` or a
   * `decision` whose threshold is between 0 and 1, else `number`.
   */
  scale: z.enum(['probability', 'number']).optional(),
});

const furtherOutputSchema = z.strictObject({
  name: text,
  /** Output of the graph. Default: the name. */
  tensor: text.optional(),
  dtype,
  /** Names of its columns. */
  classes: names.optional(),
  meaning: text.optional(),
});

const runtimeSchema = z.strictObject({
  format: z.literal('onnx'),
  opsets: z.record(text, z.int()),
  /**
   * The input of the graph with all inputs that have no `tensor` as columns. Unset: each is a tensor of its
   * own name.
   */
  input_tensor: text.optional(),
  /** Element type of the input tensor. Default: the dtype of its inputs. */
  input_dtype: z.enum(['float32', 'float64', 'float16']).optional(),
  /** The main output: a tensor with a number or more per row, or the output of a ZipMap. */
  output_tensor: text,
  /** Column of the main output that holds the score, from 0. Default: the first. */
  output_column: z.int().min(0).optional(),
  /** Output with the label of each row, if the graph decides it. */
  label_tensor: text.optional(),
});

export const manifestSchema = z
  .strictObject({
    name: text,
    version: text,
    /** SHA-256 of model.onnx in lowercase hex. */
    digest: z.string().regex(/^[0-9a-f]{64}$/, 'has to be 64 lower-case hex digits'),
    /** SPDX identifier. */
    license: text,
    description: text,
    runtime: runtimeSchema,
    /** In the order of the columns, for inputs of one tensor. */
    inputs: z
      .array(inputSchema)
      .min(1)
      .refine(
        (inputs) => new Set(inputs.map(({ name }) => name)).size === inputs.length,
        'names an input twice',
      ),
    output: outputSchema,
    /** Further outputs, in addition to the main one. */
    outputs: z.array(furtherOutputSchema).optional(),
    metrics: z.record(text, z.unknown()),
    training_data: z
      .looseObject({ source: text, license: text, rows: z.int().positive(), target: text })
      .optional(),
    training: z.record(text, z.unknown()).optional(),
    model_card: z.looseObject({ intended_use: text, limits: z.array(text) }),
  })
  .superRefine((manifest, context) => {
    for (const { path, problem } of checkManifest(manifest)) {
      context.addIssue({ code: 'custom', path, message: problem });
    }
  });

const scalar = z.union([z.number(), z.string(), z.boolean(), z.null()]);

export const goldenSchema = z.strictObject({
  /** Whether the predictions are the training library's. false: the graph's own. Default true. */
  independent: z.boolean().optional(),
  /**
   * Largest difference, relative to the largest golden prediction (at least 1). Default 1e-5, with float16
   * 2e-3.
   */
  tolerance: z.number().positive().max(1e-2).optional(),
  rows: z
    .array(
      z.strictObject({
        /** One value for each input; null is missing. */
        features: z.array(z.union([scalar, z.array(z.unknown())])),
        /** The score. */
        prediction: z.number(),
        label: z.string().nullable().optional(),
        outputs: z.record(text, z.unknown()).optional(),
      }),
    )
    .min(1),
});

/** Maximum number of invalid fields in an error. */
const maxIssues = 20;

/** Content of `model.json`: inputs, output and intended use of a model. */
export type ModelManifest = z.infer<typeof manifestSchema>;

/** One input of a model: a column of a tensor, or a tensor. */
export type ModelInput = ModelManifest['inputs'][number];

/** The main output of a model. */
export type MainOutput = ModelManifest['output'];

/** Normalizes a text of an encoding for comparison: ignores case and surrounding spaces. */
export function comparable(categoryText: string): string {
  return categoryText.trim().toLowerCase();
}

/** Content of `golden.json`. */
export type Golden = z.infer<typeof goldenSchema>;

/** One row of `golden.json`: features in the manifest's order, and the training library's prediction. */
export type GoldenRow = Golden['rows'][number];

/** Returns whether the score of a model is a probability. */
export function isProbability({ scale, classes, decision }: MainOutput): boolean {
  if (scale !== undefined) return scale === 'probability';
  return (
    classes !== undefined || (decision !== undefined && decision.threshold > 0 && decision.threshold < 1)
  );
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
export function parseGolden(json: string, file: string, width: number): Golden {
  const golden = parse(goldenSchema, json, file);
  const odd = golden.rows.findIndex(({ features }) => features.length !== width);
  if (odd !== -1) {
    throw invalid(
      file,
      `rows.${odd}.features has ${golden.rows[odd]?.features.length} values, but the model has ${width} inputs`,
    );
  }
  return golden;
}

function parse<T>(schema: z.ZodType<T>, json: string, file: string): T {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw invalid(file, `not JSON: ${messageOf(error)} (line ${lineOfSyntaxError(json)})`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { issues } = result.error;
  const written = new JsonFile(json, file, 'MODEL_INVALID');
  const told = issues
    .slice(0, maxIssues)
    .map(
      ({ path, message }) => `${path.join('.') || 'top level'}: ${message} (line ${written.lineOf(path)})`,
    );
  if (issues.length > maxIssues) told.push(`and ${issues.length - maxIssues} more`);
  throw invalid(file, told.join('; '));
}

function invalid(file: string, problem: string): MillraceError {
  return new MillraceError(
    'MODEL_INVALID',
    `${file} is invalid: ${problem}. Correct it, or export the model again.`,
  );
}
