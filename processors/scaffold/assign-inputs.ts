import { dynamic, type InputSlot, isFlat, isScalar, shapeText } from '../../models/graphs/graph-inputs.js';
import { refused } from '../../models/graphs/read-graph.js';
import { type Dtype, widthOf } from '../../models/tensors.js';
import { eventIdColumn, invalid, type Sample, unknownColumn } from './sample-file.js';

/** Which column of the sample feeds an input of the model. */
export interface AssignedInput {
  /** Name in model.json. */
  name: string;
  /** Path of the column in the sample. */
  column: string;
  dtype: Dtype;
  /** Set if the tensor has another name than the input, and is not the common one. */
  tensor?: string;
  shape?: number[];
}

export interface Assignment {
  inputs: AssignedInput[];
  /** The tensor with all inputs as columns. */
  inputTensor?: string;
  /** What was assumed, in sentences. */
  notes: string[];
}

/** Columns with a part of their own. */
export interface ColumnRoles {
  key?: string | undefined;
  label?: string | undefined;
  predictions: readonly string[];
}

/** Most columns of a matrix without a sample. A larger one is an array field. */
const maxUnnamed = 100;

/**
 * Finds the columns of a sample for the inputs of a graph: by name for one tensor per feature, in order for a
 * matrix.
 *
 * @throws MillraceError `MODEL_REFUSED` or `FILE_INVALID`, with what is missing or too many.
 */
export function assignInputs(
  slots: readonly InputSlot[],
  sample: Sample | undefined,
  roles: ColumnRoles,
): Assignment {
  if (sample === undefined) return assignUnnamed(slots);
  for (const [option, names] of [
    ['--key', [roles.key]],
    ['--label', [roles.label]],
    ['--prediction', roles.predictions],
  ] as const) {
    const missing = names.find((name) => name !== undefined && !sample.columns.includes(name));
    if (missing !== undefined) throw unknownColumn(sample, missing, option);
  }
  const [only] = slots;
  const isNamed = only !== undefined && sample.columns.includes(only.name) && isScalar(only);
  if (slots.length === 1 && only !== undefined && isFlat(only) && !isNamed)
    return assignMatrix(only, sample, roles);
  const inputs = slots.map((slot) => assignTensor(slot, slots, sample, roles));
  return { inputs, notes: notesOf(inputs) };
}

/** Columns that can be inputs. */
function features({ columns }: Sample, { key, label, predictions }: ColumnRoles): string[] {
  return columns.filter((name) => ![key, label, eventIdColumn].includes(name) && !predictions.includes(name));
}

function assignMatrix(slot: InputSlot, sample: Sample, roles: ColumnRoles): Assignment {
  const columns = features(sample, roles);
  const width = slot.inner?.[0];
  const { dtype, name } = slot;
  const list =
    columns.length === 1 || columns.includes(name)
      ? listOf(sample, columns.length === 1 ? columns[0] : name)
      : undefined;
  if (list !== undefined) {
    const shape = [width ?? list.size];
    return {
      inputs: [{ name, column: list.column, dtype, shape }],
      notes: [`The list ${list.column} fills the input ${name}.`],
    };
  }
  const named =
    roles.key !== undefined && columns.length + 1 === width
      ? sample.columns.filter((each) => each === roles.key || columns.includes(each))
      : columns;
  if (width !== undefined && named.length !== width) throw wrongCount(slot, width, named, sample);
  if (named.length === 0) throw wrongCount(slot, 1, named, sample);
  return {
    inputs: named.map((column) => ({ name: column, column, dtype })),
    inputTensor: name,
    notes: [
      `The columns ${listed(named)} fill the input ${name} in the order of the file.`,
      ...(width === undefined
        ? [`The graph leaves the width of ${name} open: it has the ${named.length} columns of the sample.`]
        : []),
    ],
  };
}

function wrongCount(slot: InputSlot, width: number, columns: readonly string[], sample: Sample): Error {
  return invalid(
    `The input ${slotText(slot)} takes ${width} ${width === 1 ? 'value' : 'values'} per row, and ${sample.file} has ${columns.length} columns for them: ${listed(columns) || 'none'}. ` +
      (columns.length > width
        ? 'Name those that are no inputs with --label, --key or --prediction, or leave them out'
        : 'Add the missing ones, in the order in which the model was trained'),
  );
}

function assignTensor(
  slot: InputSlot,
  slots: readonly InputSlot[],
  sample: Sample,
  roles: ColumnRoles,
): AssignedInput {
  const { name, dtype } = slot;
  const columns = features(sample, roles);
  // A key can be an input too.
  const candidates = roles.key === undefined ? columns : [...columns, roles.key];
  const column =
    findColumn(name, candidates) ?? (slots.length === 1 && columns.length === 1 ? columns[0] : undefined);
  if (column === undefined) throw noColumn(slot, slots, sample, columns);
  if (isScalar(slot)) return { name, column, dtype };
  const inner = slot.inner?.map((size) => size ?? listOf(sample, column)?.size ?? 0) ?? [];
  if (inner.includes(0)) throw dynamic({ name, dtype, shape: ['batch', '?'] });
  if (listOf(sample, column) === undefined) {
    throw invalid(
      `The input ${slotText(slot)} takes ${widthOf(inner)} numbers per row, and the column ${column} of ${sample.file} is not a list of them. Write it as [1, 2, …], or as columns ${column}.0, ${column}.1, …`,
    );
  }
  return { name, column, dtype, shape: inner };
}

/** Finds a column by name, by the last part of its path, or by its letters and digits alone. */
function findColumn(name: string, columns: readonly string[]): string | undefined {
  const plain = (text: string): string =>
    text
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}]+/gu, '_')
      .replaceAll(/^_|_$/g, '');
  const ways: ((column: string) => boolean)[] = [
    (column) => column === name,
    (column) => plain(column) === plain(name),
    (column) => column.split('.').at(-1) === name,
  ];
  for (const way of ways) {
    const [found, ...more] = columns.filter(way);
    if (found !== undefined && more.length === 0) return found;
  }
  return undefined;
}

function noColumn(
  slot: InputSlot,
  slots: readonly InputSlot[],
  sample: Sample,
  columns: readonly string[],
): Error {
  const others = slots
    .filter((each) => each !== slot && findColumn(each.name, columns) === undefined)
    .map(({ name }) => name);
  const more = others.length === 0 ? '' : `, nor for ${listed(others)}`;
  const matrix = isScalar(slot)
    ? ''
    : ` It takes a list of ${widthOf(slot.inner?.map((size) => size ?? 1))} values: a column ${slot.name} with [1, 2, …], or columns ${slot.name}.0, ${slot.name}.1, ….`;
  return invalid(
    `${sample.file} has no column for the input ${slotText(slot)} of the graph${more}. Its columns are ${listed(columns)}.${matrix} Rename the columns as the graph names its inputs: ${listed(slots.map(({ name }) => name))}`,
  );
}

function assignUnnamed(slots: readonly InputSlot[]): Assignment {
  const [only] = slots;
  const unknown = slots.filter((slot) => !isScalar(slot));
  if (slots.length > 1 && unknown.length > 0) {
    throw refused(
      `it has ${slots.length} inputs, and nothing says what the columns of ${unknown.map(slotText).join(' and ')} are. Give rows with --sample: a list for each of them (a column ${unknown[0]?.name} with [1, 2, …]), and a column for each other input. Or export it with one input for each feature`,
    );
  }
  if (only === undefined || slots.length > 1 || (isScalar(only) && only.inner !== undefined)) {
    const inputs = slots.map(({ name, dtype }) => ({ name, column: name, dtype }));
    return { inputs, notes: ['Without --sample, ranges are unknown and the types are those of the graph.'] };
  }
  const { name, dtype, inner = [undefined] } = only;
  const shape = inner.map((size) => {
    if (size !== undefined) return size;
    throw refused(
      `its input ${slotText(only)} does not say how many values it takes. Give rows with --sample, with a column for each of them, or export it with a fixed size, such as [None, 24]`,
    );
  });
  if (isFlat(only) && widthOf(shape) <= maxUnnamed) {
    const columns = Array.from({ length: widthOf(shape) }, (_, index) => `f${index}`);
    return {
      inputs: columns.map((column) => ({ name: column, column, dtype })),
      inputTensor: name,
      notes: [
        `The graph does not name the ${columns.length} columns of ${name}: they are ${listed(columns)}. With --sample they get the names of its header. Ranges are unknown.`,
      ],
    };
  }
  return {
    inputs: [{ name, column: name, dtype, shape }],
    notes: [
      `The field ${name} is a list of ${widthOf(shape)} values. Its range is unknown without --sample.`,
    ],
  };
}

/** Returns a column of lists and their size, or undefined if it has other values. */
function listOf(
  { rows, isText }: Sample,
  column: string | undefined,
): { column: string; size: number } | undefined {
  if (column === undefined) return undefined;
  for (const { values } of rows) {
    const value = values.get(column);
    if (value === null || value === undefined || value === '') continue;
    if (Array.isArray(value)) return { column, size: value.flat(16).length };
    const list: unknown =
      isText && typeof value === 'string' && value.trim().startsWith('[') ? parseList(value) : undefined;
    return Array.isArray(list) ? { column, size: list.flat(16).length } : undefined;
  }
  return undefined;
}

/** @returns undefined if the text is no list in JSON. NaN is allowed, as Python writes it. */
export function parseList(text: string): unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(text.replaceAll(/\bNaN\b/g, 'null'));
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function notesOf(inputs: readonly AssignedInput[]): string[] {
  const renamed = inputs.filter(({ name, column }) => name !== column);
  return renamed.length === 0
    ? []
    : [`${renamed.map(({ name, column }) => `The column ${column} feeds the input ${name}`).join('; ')}.`];
}

function slotText({ name, dtype, inner }: InputSlot): string {
  return shapeText({
    name,
    dtype,
    shape: inner === undefined ? [] : ['batch', ...inner.map((size) => size ?? '?')],
  });
}

function listed(names: readonly string[]): string {
  return names.length > 12
    ? `${names.slice(0, 10).join(', ')}, … and ${names.at(-1)} (${names.length})`
    : names.join(', ');
}
