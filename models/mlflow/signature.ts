import { parse } from 'yaml';
import { z } from 'zod';
import { MillraceError, messageOf } from '../../platform/errors.js';

/** Inputs of an MLflow model: ordered named columns, or a tensor shape. */
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
 * Parses the inputs of the signature in an `MLmodel` file, which is YAML with the inputs as a JSON string.
 *
 * @returns undefined if the model was logged without a signature.
 * @throws MillraceError `MLFLOW_MODEL_UNFIT` if the signature is unreadable.
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
      `Cannot read the signature in the file MLmodel: ${messageOf(error)}. Log the model again with a signature of named columns.`,
      { cause: error },
    );
  }
}
