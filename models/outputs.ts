import { MillraceError } from '../platform/errors.js';
import { fromFloat16 } from './float16.js';
import type { MainOutput, ModelManifest } from './manifest.js';
import type { TensorData } from './tensors.js';

/** A named output for one row: a number, a probability for each class, a text, or a (nested) list. */
export type OutputValue =
  number | string | boolean | readonly OutputValue[] | { readonly [className: string]: number };

/** A model's answer for one row. */
export interface ModelOutput {
  /** The main number. With classes the probability of the label. */
  score: number;
  /** null for a model that does not classify. */
  label: string | null;
  /** All named outputs, including the main one. */
  outputs: Readonly<Record<string, OutputValue>>;
}

/** Dimensions of the named outputs in one row: none for a single value, one for classes. */
export type OutputShapes = Readonly<Record<string, readonly number[]>>;

/** Returns the dimensions of an answer's outputs. */
export function shapesOf({ outputs }: ModelOutput): OutputShapes {
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, dimensionsOf(value)]));
}

function dimensionsOf(value: OutputValue): number[] {
  if (typeof value !== 'object') return [];
  if (!Array.isArray(value)) return [Object.keys(value).length];
  const items = value as readonly OutputValue[];
  return [items.length, ...(items[0] === undefined ? [] : dimensionsOf(items[0]))];
}

/** Whether a model's predictions have labels. */
export function givesLabels({ output, runtime }: Pick<ModelManifest, 'output' | 'runtime'>): boolean {
  return output.decision !== undefined || output.classes !== undefined || runtime.label_tensor !== undefined;
}

/** Whether a model gives more than one number, its score. */
export function givesMore({
  manifest,
  outputShapes,
}: {
  manifest: Pick<ModelManifest, 'output' | 'outputs'>;
  outputShapes: OutputShapes;
}): boolean {
  return (manifest.outputs ?? []).length > 0 || (outputShapes[manifest.output.name] ?? []).length > 0;
}

/** An output tensor of a run. Its data holds float16 as bits. */
export interface OutputTensor {
  dtype: string;
  dims: readonly number[];
  data: TensorData;
}

type Element = number | string | boolean;

/** Returns the names of the graph's outputs that a manifest uses, each once. */
export function outputTensorsOf({
  outputs = [],
  runtime: { output_tensor, label_tensor },
}: Pick<ModelManifest, 'outputs' | 'runtime'>): string[] {
  const further = outputs.map(({ name, tensor = name }) => tensor);
  return [...new Set([output_tensor, ...(label_tensor === undefined ? [] : [label_tensor]), ...further])];
}

/** Turns the tensors of a run into answers, by the model's `model.json`. */
export class OutputDecoder {
  readonly #tensors: readonly string[];
  readonly #output: MainOutput;
  readonly #further: NonNullable<ModelManifest['outputs']>;
  readonly #column: number | undefined;
  readonly #mainTensor: string;
  readonly #labelTensor: string | undefined;

  constructor({ output, outputs = [], runtime }: Pick<ModelManifest, 'output' | 'outputs' | 'runtime'>) {
    this.#output = output;
    this.#further = outputs;
    this.#column = runtime.output_column;
    this.#mainTensor = runtime.output_tensor;
    this.#labelTensor = runtime.label_tensor;
    this.#tensors = outputTensorsOf({ outputs, runtime });
  }

  /**
   * @param tensors - in the order of {@link outputTensorsOf}.
   * @returns one answer per row, or the row's error: `OUTPUT_INVALID`.
   * @throws MillraceError `MODEL_FAILED` if a tensor does not have a part for each row.
   */
  decode(tensors: readonly OutputTensor[], count: number): (ModelOutput | MillraceError)[] {
    const reader = (name: string): OutputReader => {
      const tensor = tensors[this.#tensors.indexOf(name)];
      if (tensor === undefined) throw unfit(`${name} is not among its outputs`);
      return new OutputReader(name, tensor, count);
    };
    const main = reader(this.#mainTensor);
    if (main.isText) throw unfit(`${this.#mainTensor} is text, but the main output has to be a number`);
    const width = this.#output.classes?.length;
    if (width !== undefined) main.requireWidth(width);
    else if ((this.#column ?? 0) >= main.width) {
      throw unfit(`${this.#mainTensor} has no column ${this.#column ?? 0} of ${count} numbers`);
    }
    const labels = this.#labelTensor === undefined ? undefined : reader(this.#labelTensor);
    if (labels !== undefined && labels.width !== 1) {
      throw unfit(`${this.#labelTensor} has ${labels.width} labels for each row`);
    }
    const further = this.#further.map(({ name, tensor = name, classes }) => {
      const each = reader(tensor);
      if (classes !== undefined) each.requireWidth(classes.length);
      return { name, classes, reader: each };
    });
    if (main.width === 1 && width === undefined && labels === undefined && further.length === 0) {
      return this.#numbers(main, count);
    }
    return Array.from({ length: count }, (_, row) => {
      try {
        const outputs: Record<string, OutputValue> = {};
        const answer = this.#answer(main, labels, row, outputs);
        for (const each of further) outputs[each.name] = each.reader.value(row, each.classes);
        return { ...answer, outputs };
      } catch (error) {
        if (error instanceof MillraceError) return error;
        throw error;
      }
    });
  }

  /** The usual case, without the detours of the others. */
  #numbers(main: OutputReader, count: number): (ModelOutput | MillraceError)[] {
    const { name } = this.#output;
    const answers: (ModelOutput | MillraceError)[] = [];
    for (let row = 0; row < count; row++) {
      const value = main.checked(row, 0);
      if (value instanceof MillraceError) answers.push(value);
      else {
        const score = Number(value);
        answers.push({ score, label: decide(this.#output, score), outputs: { [name]: score } });
      }
    }
    return answers;
  }

  #answer(
    main: OutputReader,
    labels: OutputReader | undefined,
    row: number,
    outputs: Record<string, OutputValue>,
  ): Omit<ModelOutput, 'outputs'> {
    const { name, classes } = this.#output;
    const given = labels === undefined ? null : labels.label(row);
    if (classes !== undefined) {
      outputs[name] = main.value(row, classes);
      const index = given === null ? main.largest(row) : classes.indexOf(given);
      const label = classes[index];
      if (label === undefined) {
        throw outputInvalid(
          `The model's label is '${given}', which is not one of its classes: ${classes.join(', ')}.`,
        );
      }
      return { score: Number(main.element(row, index)), label };
    }
    const score = Number(main.element(row, this.#column ?? 0));
    outputs[name] = this.#column === undefined && main.width > 1 ? main.value(row) : score;
    return { score, label: decide(this.#output, score) ?? given };
  }
}

/** Returns the label of a score, by the threshold in `output.decision`; null without one. */
export function decide({ decision }: MainOutput, score: number): string | null {
  if (decision === undefined) return null;
  return score >= decision.threshold ? decision.at_or_above : decision.below;
}

/** Reads the parts of one output tensor that belong to rows. */
class OutputReader {
  /** Elements per row. */
  readonly width: number;
  readonly isText: boolean;
  readonly #name: string;
  readonly #data: TensorData;
  /** Of a row. */
  readonly #dims: readonly number[];
  readonly #dtype: string;

  constructor(name: string, { dtype, dims, data }: OutputTensor, count: number) {
    if (data.length % count !== 0 || (data.length !== count && dims[0] !== count)) {
      throw unfit(`${name} is [${dims.join(', ')}], which has no part for each of ${count} rows`);
    }
    this.#name = name;
    this.#data = data;
    this.#dtype = dtype;
    this.width = data.length / count;
    this.#dims = dims.slice(1);
    this.isText = dtype === 'string';
  }

  requireWidth(classes: number): void {
    if (this.width === classes) return;
    throw unfit(`${this.#name} has ${this.width} columns, but model.json names ${classes} classes`);
  }

  /** @throws MillraceError as {@link checked} returns it. */
  element(row: number, column: number): Element {
    const value = this.checked(row, column);
    if (value instanceof MillraceError) throw value;
    return value;
  }

  /** @returns `OUTPUT_INVALID` if the element is no finite number, or one that JavaScript would round. */
  checked(row: number, column: number): Element | MillraceError {
    const value = this.#data[row * this.width + column];
    if (typeof value === 'string') return value;
    if (typeof value === 'bigint') {
      if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) {
        return outputInvalid(`The model's output ${this.#name} is ${value}, which is beyond ±(2^53 - 1).`);
      }
      return Number(value);
    }
    if (this.#dtype === 'bool') return value === 1;
    const number = this.#dtype === 'float16' ? fromFloat16(value ?? Number.NaN) : (value ?? Number.NaN);
    if (!Number.isFinite(number)) {
      return outputInvalid(`The model's output ${this.#name} is ${number}, which is no finite number.`);
    }
    // JSON, and so the answer and the stored row, has no negative zero.
    return number + 0;
  }

  /** Returns the row's only element as text. Whole numbers of any size are exact. */
  label(row: number): string {
    const value = this.#data[row * this.width];
    return typeof value === 'bigint' ? String(value) : String(this.element(row, 0));
  }

  /** Returns the index of the row's largest number, the first of equal ones. */
  largest(row: number): number {
    let best = 0;
    for (let column = 1; column < this.width; column++) {
      if (this.element(row, column) > this.element(row, best)) best = column;
    }
    return best;
  }

  /** Returns the row's part: a single value, a value for each class, or a list nested like the tensor. */
  value(row: number, classes?: readonly string[]): OutputValue {
    if (classes !== undefined) {
      return Object.fromEntries(classes.map((name, column) => [name, Number(this.element(row, column))]));
    }
    if (this.width === 1 && this.#dims.length < 2) return this.element(row, 0);
    return this.#nested(row, 0, 0, this.width);
  }

  #nested(row: number, from: number, depth: number, size: number): OutputValue {
    const length = this.#dims[depth];
    if (length === undefined) return this.element(row, from);
    const step = size / length;
    return Array.from({ length }, (_, index) => this.#nested(row, from + index * step, depth + 1, step));
  }
}

function outputInvalid(problem: string): MillraceError {
  return new MillraceError('OUTPUT_INVALID', problem);
}

function unfit(problem: string): MillraceError {
  return new MillraceError('MODEL_FAILED', `The output ${problem}.`);
}
