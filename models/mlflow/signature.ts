import { parse } from 'yaml';
import { z } from 'zod';
import { MillraceError, messageOf } from '../../platform/errors.js';

/** What an MLflow model takes: named columns in their order, or a tensor of which only the shape is known. */
export type Signature = { columns: { name: string; type: string }[] } | { shape: number[] };

const inputsSchema = z.union([
  z
    .array(z.looseObject({ name: z.string(), type: z.string() }))
    .min(1)
    .refine((inputs) => inputs.every(({ type }) => type !== 'tensor')),
  z.tuple([
    z.looseObject({
      type: z.literal('tensor'),
      'tensor-spec': z.looseObject({ shape: z.array(z.number()) }),
    }),
  ]),
]);

const fileSchema = z.looseObject({ signature: z.looseObject({ inputs: z.unknown() }).nullish() });

/**
 * The inputs of the signature in an `MLmodel` file. That file is YAML; MLflow writes the inputs as a string of JSON.
 *
 * @returns none when the model was logged without a signature.
 * @throws MillraceError `MLFLOW_MODEL_UNFIT` when there is one that can't be read.
 */
export function readSignature(mlmodel: string): Signature | undefined {
  try {
    const { signature } = fileSchema.parse(parse(mlmodel, { logLevel: 'error' }));
    const value = signature?.inputs ?? undefined;
    if (value === undefined) return undefined;
    const inputs = inputsSchema.parse(typeof value === 'string' ? JSON.parse(value) : value);
    const [first] = inputs;
    return 'tensor-spec' in first
      ? { shape: (first['tensor-spec'] as { shape: number[] }).shape }
      : { columns: inputs.map(({ name, type }) => ({ name: String(name), type })) };
  } catch (error) {
    throw new MillraceError(
      'MLFLOW_MODEL_UNFIT',
      `The signature in the file MLmodel can't be read: ${messageOf(error)}. Log the model again with one that names its columns.`,
      { cause: error },
    );
  }
}
