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

/**
 * The inputs of the signature in an `MLmodel` file. That file is YAML, and in it the signature's inputs are JSON in a
 * single-quoted scalar: line ends inside it are spaces, and a quote is doubled (YAML 1.2.2, section 7.3.2).
 *
 * @returns none when the model was logged without a signature.
 * @throws MillraceError `MLFLOW_MODEL_UNFIT` when there is one that can't be read.
 */
export function readSignature(mlmodel: string): Signature | undefined {
  const [, section] = /^signature:[ \t]*\r?\n((?:[ \t]+.*(?:\r?\n|$)|\r?\n)*)/m.exec(mlmodel) ?? [];
  if (section === undefined || /^\s+inputs: null$/m.test(section)) return undefined;
  const [, scalar] = /^\s+inputs:\s+'((?:[^']|'')*)'/m.exec(section) ?? [];
  try {
    if (scalar === undefined) throw new Error('its inputs are not where MLflow writes them');
    const inputs = inputsSchema.parse(JSON.parse(scalar.replaceAll(/\s*\n\s*/g, ' ').replaceAll("''", "'")));
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
