import type { PredictionRow } from '../../analytics/rows.js';
import type { Dtype } from '../../models/tensors.js';
import type { ServedVersion } from '../../models/lifecycle/served-version.js';
import { givesLabels } from '../../models/outputs.js';
import { outputsOf } from '../../processors/scoring/prediction.js';
import type { TensorInfo } from './schemas.js';
import { inferInvalid } from './tensors.js';

/** A prediction, and what its model gave by name. */
export interface Answer {
  row: PredictionRow;
  outputs: Readonly<Record<string, unknown>>;
}

export function toAnswer(row: PredictionRow): Answer {
  let outputs: Answer['outputs'] | undefined;
  return {
    row,
    // Read when it is asked for: most requests ask for score and label, and it may be large.
    get outputs() {
      return (outputs ??= outputsOf(row));
    },
  };
}

/** An output of a model over the inference protocol. */
export interface Output extends TensorInfo {
  /** Returns the elements of a row; undefined if its prediction has no such output. */
  elements: (answer: Answer) => readonly unknown[] | undefined;
  /** Whether it is answered only when requested by name. */
  onRequest?: boolean;
  /** Whether the metadata leaves it out: it is no output of the model. */
  isHidden?: boolean;
}

/** Parts of a version that its outputs follow from. */
export type OutputsOf = Pick<ServedVersion, 'manifest' | 'outputShapes'>;

/**
 * Returns the outputs of the versions that may answer: the score, the label if one classifies, each named
 * output that all of them give alike, and the ids. A named output whose name is taken is `outputs.<name>`.
 */
export function outputTensors(versions: readonly OutputsOf[]): Output[] {
  const shape = [-1];
  const label: Output = { name: 'label', datatype: 'BYTES', shape, elements: ({ row }) => [row.label] };
  const id = (name: 'event_id' | 'prediction_id'): Output => ({
    name,
    datatype: 'BYTES',
    shape,
    elements: ({ row }) => [row[name]],
    onRequest: true,
    isHidden: true,
  });
  const outputs: Output[] = [
    { name: 'score', datatype: 'FP64', shape, elements: ({ row }) => [row.score] },
    ...(versions.some(({ manifest }) => givesLabels(manifest)) ? [label] : []),
    id('event_id'),
    id('prediction_id'),
  ];
  const taken = new Set([...outputs.map(({ name }) => name), 'label']);
  return [...outputs, ...namedOutputs(versions, taken)];
}

/** @throws MillraceError `INFER_INVALID` for an output that is not there, or there twice. */
export function chosenOutputs(
  all: readonly Output[],
  chosen: { name: string }[] | null | undefined,
): Output[] {
  if (!chosen || chosen.length === 0) return all.filter(({ onRequest }) => onRequest !== true);
  if (new Set(chosen.map(({ name }) => name)).size < chosen.length)
    throw inferInvalid('An output is asked for twice.');
  return chosen.map(({ name }) => {
    const output = all.find((each) => each.name === name);
    if (output !== undefined) return output;
    throw inferInvalid(`There is no output ${name}. There are: ${all.map((each) => each.name).join(', ')}.`);
  });
}

/** @throws MillraceError `INFER_INVALID` for a prediction without this output. */
export function toTensor(output: Output, answers: readonly Answer[]): object {
  const { name, datatype, shape, parameters } = output;
  const data = answers.flatMap((answer, row) => {
    const elements = output.elements(answer);
    if (elements !== undefined) return elements;
    const { model, model_version: version } = answer.row;
    throw inferInvalid(
      `Row ${row}: its prediction, by version ${version} of ${model}, has no output ${name} of the shape in the metadata. Ask for score or label.`,
    );
  });
  return {
    name,
    datatype,
    shape: [answers.length, ...shape.slice(1)],
    ...(parameters === undefined ? {} : { parameters }),
    data,
  };
}

/** A named output of one version. */
interface Named {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
  classes?: readonly string[] | undefined;
}

function namedOutputs(versions: readonly OutputsOf[], taken: ReadonlySet<string>): Output[] {
  const [first = [], ...others] = versions.map(({ manifest, outputShapes }) =>
    [manifest.output, ...(manifest.outputs ?? [])].flatMap(({ name, dtype, classes }): Named[] => {
      const shape = outputShapes[name];
      return shape === undefined ? [] : [{ name, dtype, shape, classes }];
    }),
  );
  const isMain = ({ name }: Named): boolean =>
    versions.every(({ manifest }) => manifest.output.name === name);
  return first
    .filter((named) => others.every((all) => all.some((each) => isAlike(each, named))))
    .filter((named) => !(named.name === 'score' && named.shape.length === 0 && isMain(named)))
    .map((named) => toOutput(named, freeName(named.name, taken)));
}

function isAlike(a: Named, b: Named): boolean {
  return (
    JSON.stringify([a.name, a.dtype, a.shape, a.classes]) ===
    JSON.stringify([b.name, b.dtype, b.shape, b.classes])
  );
}

function freeName(name: string, taken: ReadonlySet<string>): string {
  return taken.has(name) ? `outputs.${name}` : name;
}

function toOutput({ name, dtype, shape, classes }: Named, shownName: string): Output {
  const datatype = datatypes[dtype];
  return {
    name: shownName,
    datatype,
    shape: [-1, ...shape],
    ...(classes === undefined ? {} : { parameters: { classes: [...classes] } }),
    elements: ({ outputs }) => {
      const value = outputs[name];
      return classes === undefined ? flatten(value, shape) : perClass(value, classes);
    },
    onRequest: true,
  };
}

const datatypes: Readonly<Record<Dtype, string>> = {
  float32: 'FP32',
  float64: 'FP64',
  float16: 'FP16',
  int64: 'INT64',
  int32: 'INT32',
  int16: 'INT16',
  int8: 'INT8',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  bool: 'BOOL',
  string: 'BYTES',
};

function perClass(value: unknown, classes: readonly string[]): unknown[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const given = new Map<string, unknown>(Object.entries(value));
  return classes.every((name) => given.has(name)) ? classes.map((name) => given.get(name)) : undefined;
}

/** @returns undefined for a value of another shape. */
function flatten(value: unknown, [length, ...inner]: readonly number[]): unknown[] | undefined {
  if (length === undefined) return typeof value === 'object' || value === undefined ? undefined : [value];
  if (!Array.isArray(value) || value.length !== length) return undefined;
  const parts = value.map((each) => flatten(each, inner));
  return parts.some((part) => part === undefined) ? undefined : parts.flatMap((part) => part ?? []);
}
