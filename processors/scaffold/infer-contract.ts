import type { Dtype } from '../../models/tensors.js';
import type { AvroObject, AvroType, ContractField, Limits, RecordSchema } from '../../schemas/contracts.js';
import { avroName, typeName } from './field-names.js';
import { invalid } from './sample-file.js';

/** What the model says about a value of an event, by its path. */
export interface WantedValue {
  /** Name of the input. */
  input: string;
  dtype: Dtype;
  shape?: readonly number[] | undefined;
  isEncoded: boolean;
}

export interface InferOptions {
  pipeline: string;
  /** Sample events, for errors with their rows. Empty without a sample. */
  events: readonly { row: number; event: Readonly<Record<string, unknown>> }[];
  wanted: ReadonlyMap<string, WantedValue>;
  /** Path of the key. */
  key?: string | undefined;
  /** Name of the file, for errors. */
  file: string;
}

/** A value and its row. */
interface Seen {
  row: number;
  value: unknown;
}

/**
 * Makes the contract of events from sample events and from what the model takes. Fields that no input takes
 * may be left out of events.
 *
 * @throws MillraceError `FILE_INVALID` for a field whose values have different types.
 */
export function inferContract({ pipeline, events, wanted, key, file }: InferOptions): RecordSchema {
  const names = new Set<string>();
  const inference = new Inference(wanted, key, file, names);
  const name = inference.nameOf(`${typeName(pipeline)}Event`);
  const seen = events.map(({ row, event }) => ({ row, value: event }));
  const fields = inference.fields(seen, '', events.length === 0 ? [...wanted.keys()] : []);
  const source =
    events.length === 0
      ? 'the inputs of its model'
      : `the ${events.length} sample rows in ${file.replace(/^.*[/\\]/, '')}`;
  return {
    type: 'record',
    name,
    namespace: `millrace.${avroName(pipeline)}`,
    doc: `An event of ${pipeline}. Made from ${source}.`,
    fields,
  };
}

class Inference {
  readonly #wanted: ReadonlyMap<string, WantedValue>;
  readonly #key: string | undefined;
  readonly #file: string;
  readonly #names: Set<string>;

  constructor(
    wanted: ReadonlyMap<string, WantedValue>,
    key: string | undefined,
    file: string,
    names: Set<string>,
  ) {
    this.#wanted = wanted;
    this.#key = key;
    this.#file = file;
    this.#names = names;
  }

  /** Returns a name of a type that no other type has. */
  nameOf(wish: string): string {
    let name = wish;
    for (let count = 2; this.#names.has(name); count++) name = `${wish}${count}`;
    this.#names.add(name);
    return name;
  }

  /** @param more - names of fields that the values do not have. */
  fields(seen: readonly Seen[], prefix: string, more: readonly string[] = []): ContractField[] {
    const names = new Set([...seen.flatMap(({ value }) => Object.keys(value as object)), ...more]);
    return [...names].flatMap((name) => {
      const values = seen.map(({ row, value }) => ({ row, value: (value as Record<string, unknown>)[name] }));
      const field = this.#field(name, `${prefix}${name}`, values);
      return field === undefined ? [] : [field];
    });
  }

  #field(name: string, path: string, values: readonly Seen[]): ContractField | undefined {
    const type = this.#type(path, values);
    if (type === undefined) return undefined;
    const given = values.filter(({ value }) => value !== null && value !== undefined);
    // Below a field that may be left out, each one may not.
    const isInside = path.includes('.') && !this.#isNeeded(path.slice(0, path.lastIndexOf('.')));
    const isOptional = given.length < values.length || (!this.#isNeeded(path) && !isInside);
    const { doc, limits } = this.#describe(path, values, given);
    return {
      name,
      type: isOptional ? ['null', type] : type,
      doc,
      ...(isOptional ? { default: null } : {}),
      ...limits,
    };
  }

  /** Whether an input or the key is at a path or below it. */
  #isNeeded(path: string): boolean {
    return [...this.#wanted.keys(), ...(this.#key === undefined ? [] : [this.#key])].some(
      (each) => each === path || each.startsWith(`${path}.`),
    );
  }

  /** Undefined: no value shows what it is. */
  #type(path: string, values: readonly Seen[]): AvroType | undefined {
    const given = values.filter(({ value }) => value !== null && value !== undefined);
    const wanted = this.#wanted.get(path);
    if (wanted !== undefined) return this.#wantedType(wanted, given);
    const [first] = given;
    if (first === undefined) return undefined;
    const kind = kindOf(first.value);
    const odd = given.find(({ value }) => kindOf(value) !== kind);
    if (odd !== undefined) {
      throw invalid(
        `${path} is ${describe(first.value)} in row ${first.row} of ${this.#file}, and ${describe(odd.value)} in row ${odd.row}. A field has one type: correct the rows`,
      );
    }
    if (kind === 'list') return this.#list(path, given);
    if (kind === 'object') return this.#object(path, given);
    if (kind !== 'number') return kind;
    return given.every(({ value }) => Number.isSafeInteger(value)) ? 'long' : 'double';
  }

  #list(path: string, given: readonly Seen[]): AvroType | undefined {
    const items = given.flatMap(({ row, value }) =>
      (value as unknown[]).map((each) => ({ row, value: each })),
    );
    const type = this.#type(`${path}[]`, items);
    const isNullable = items.some(({ value }) => value === null);
    return type && { type: 'array', items: isNullable ? ['null', type] : type };
  }

  /** Objects whose keys differ from row to row, with values of one simple type, are maps. */
  #object(path: string, given: readonly Seen[]): AvroType | undefined {
    const objects = given.map(({ value }) => value as Record<string, unknown>);
    const keys = new Set(objects.flatMap((each) => Object.keys(each)));
    const inAll = [...keys].filter((key) => objects.every((each) => Object.hasOwn(each, key)));
    const kinds = new Set(objects.flatMap((each) => Object.values(each).map(kindOf)));
    const isSimple = kinds.size === 1 && !kinds.has('object') && !kinds.has('list');
    const isNamed = [...this.#wanted.keys()].some((each) => each.startsWith(`${path}.`));
    if (keys.size === 0) return { type: 'map', values: 'string' };
    if (given.length > 1 && inAll.length === 0 && isSimple && !isNamed) {
      const entries = given.flatMap(({ row, value }) =>
        Object.values(value as object).map((each: unknown) => ({ row, value: each })),
      );
      const values = this.#type(`${path}[]`, entries);
      return values && { type: 'map', values };
    }
    const fields = this.fields(given, `${path}.`);
    const last = path.replaceAll('[]', '').split('.').at(-1) ?? path;
    return { type: 'record', name: this.nameOf(typeName(last)), fields } satisfies AvroObject;
  }

  #wantedType({ dtype, shape, isEncoded }: WantedValue, given: readonly Seen[]): AvroType {
    const scalars = given.flatMap(({ value }) =>
      Array.isArray(value) ? value.flat(16) : [value],
    ) as unknown[];
    const areFlags =
      scalars.length > 0 &&
      scalars.filter((each) => each !== null).every((each) => typeof each === 'boolean');
    const element = isEncoded ? 'string' : areFlags ? 'boolean' : elementTypes[dtype];
    if (shape === undefined) return element;
    const item: AvroType = scalars.includes(null) ? ['null', element] : element;
    // A flat list has all elements of a shape.
    const first = given[0]?.value;
    const sizes =
      Array.isArray(first) && first.some(Array.isArray)
        ? shape
        : [shape.reduce((size, each) => size * each, 1)];
    return sizes.reduceRight<AvroType>(
      (items, size) => ({ type: 'array', items, minItems: size, maxItems: size }),
      item,
    );
  }

  #describe(path: string, values: readonly Seen[], given: readonly Seen[]): { doc: string; limits: Limits } {
    const wanted = this.#wanted.get(path);
    const scalars = given.flatMap(({ value }) =>
      Array.isArray(value) ? value.flat(16) : [value],
    ) as unknown[];
    const numbers = scalars.filter((each) => typeof each === 'number');
    const texts = [...new Set(scalars.filter((each) => typeof each === 'string'))];
    const [lowest, highest] = rangeOf(numbers);
    const parts = [
      wanted === undefined
        ? `${path === this.#key ? 'The key. ' : ''}${this.#isNeeded(path) && path !== this.#key ? 'Has values that the pipeline uses' : 'No input of the model'}`
        : `Input ${wanted.input} of the model (${wanted.dtype}${wanted.shape === undefined ? '' : ` [${wanted.shape.join(', ')}]`})`,
      ...(numbers.length > 0 ? [`From ${lowest} to ${highest} in the sample rows`] : []),
      ...(wanted !== undefined && texts.length > 0
        ? [`In the sample rows: ${texts.slice(0, 10).join(', ')}${texts.length > 10 ? ', …' : ''}`]
        : []),
      ...(given.length < values.length
        ? [`Missing in ${values.length - given.length} of ${values.length} sample rows`]
        : []),
    ];
    const limits = wanted === undefined ? {} : limitsOf(wanted, numbers, texts);
    return { doc: `${parts.join('. ')}.`.slice(0, 1_000), limits };
  }
}

/** Avro types of elements. */
const elementTypes: Record<Dtype, string> = {
  float32: 'double',
  float64: 'double',
  float16: 'double',
  int64: 'long',
  uint64: 'long',
  uint32: 'long',
  int32: 'int',
  int16: 'int',
  int8: 'int',
  uint16: 'int',
  uint8: 'int',
  bool: 'boolean',
  string: 'string',
};

/** Limits of whole numbers that Avro's type does not have. */
const dtypeLimits: Partial<Record<Dtype, [number, number]>> = {
  int16: [-32_768, 32_767],
  int8: [-128, 127],
  uint8: [0, 255],
  uint16: [0, 65_535],
  uint32: [0, 4_294_967_295],
  uint64: [0, 2 ** 53 - 2],
};

/**
 * Returns generous limits: ten to a hundred times the largest number of the sample, and 0 where it has no
 * number below.
 */
function limitsOf(
  { dtype, isEncoded }: WantedValue,
  numbers: readonly number[],
  texts: readonly string[],
): Limits {
  if (dtype === 'string' || isEncoded) {
    const longest = Math.max(0, ...texts.map((each) => each.length));
    return { maxLength: Math.max(100, 10 * longest) };
  }
  if (dtype === 'bool') return {};
  const [least, most] = dtypeLimits[dtype] ?? [-Infinity, Infinity];
  const [lowest, highest] = rangeOf(numbers);
  const largest = Math.max(Math.abs(lowest), Math.abs(highest));
  const wide = numbers.length > 0 && largest > 0 ? 10 ** (Math.ceil(Math.log10(largest)) + 1) : Infinity;
  const minimum = Math.max(least, numbers.length > 0 && lowest >= 0 ? 0 : -wide);
  const maximum = Math.min(most, wide);
  const isNear = (limit: number): boolean =>
    Math.abs(limit) < (dtype === 'int32' ? 2 ** 31 : dtype === 'float16' ? 65_504 : 1e15);
  return { ...(isNear(minimum) ? { minimum } : {}), ...(isNear(maximum) ? { maximum } : {}) };
}

export function rangeOf(numbers: readonly number[]): [lowest: number, highest: number] {
  return numbers.reduce<[number, number]>(
    ([lowest, highest], each) => [Math.min(lowest, each), Math.max(highest, each)],
    [Infinity, -Infinity],
  );
}

function kindOf(value: unknown): 'list' | 'object' | 'number' | 'string' | 'boolean' {
  if (Array.isArray(value)) return 'list';
  return typeof value as 'object' | 'number' | 'string' | 'boolean';
}

function describe(value: unknown): string {
  const kind = kindOf(value);
  return {
    list: 'a list',
    object: 'an object',
    number: `the number ${String(value)}`,
    string: `the text '${String(value).slice(0, 60)}'`,
    boolean: String(value),
  }[kind];
}
