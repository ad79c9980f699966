import type { ModelManifest } from '../manifest.js';
import { type Dtype, dtypes, isFloat } from '../tensors.js';
import { shapeText } from './graph-inputs.js';
import { type Graph, refused } from './read-graph.js';

/** What the user says about the outputs of a graph. */
export interface OutputChoice {
  /** Output that gives the score. Default: the only one with probabilities, or the first with numbers. */
  output?: string | undefined;
  /** Column of that output with the score, from 0. */
  column?: number | undefined;
  /** Names of its columns, for probabilities of classes. Default: the labels in the graph. */
  classes?: readonly string[] | undefined;
  /** Names of the columns, if neither the user nor the graph names them. */
  defaultClasses?: readonly string[] | undefined;
  /** Whether the score is one number: of two columns the second, the probability of the positive class. */
  isSingle?: boolean | undefined;
}

/** An output that a run gave: its numbers per row, and the first texts or numbers. */
export interface SeenOutput {
  width: number;
  values: readonly (number | string)[];
}

/** The parts of a model.json that say what the outputs are. */
export interface OutputPlan {
  runtime: Pick<ModelManifest['runtime'], 'output_tensor' | 'output_column' | 'label_tensor'>;
  output: ModelManifest['output'];
  outputs?: NonNullable<ModelManifest['outputs']>;
  /** What was assumed, in sentences. */
  notes: string[];
}

/** An output with numbers. */
interface Candidate {
  name: string;
  /** The tensor of which it consists: that before a ZipMap. */
  tensor: string;
  dtype: Exclude<Dtype, 'string'>;
  width: number;
  classes?: string[];
}

/**
 * Decides what the outputs of a graph are: which one gives the score, what its columns are called, and which
 * one has the labels.
 *
 * @param seen - outputs of a run by tensor. Their widths count, because a graph may leave them open.
 * @throws MillraceError `MODEL_REFUSED` with what the graph has, what is needed and how to export it.
 */
export function planOutputs(
  graph: Graph,
  seen: ReadonlyMap<string, SeenOutput>,
  choice: OutputChoice = {},
): OutputPlan {
  const candidates = candidatesOf(graph, seen, choice);
  const notes: string[] = [];
  const chosen = choose(graph, candidates, choice, notes);
  const found = labelOf(graph, seen, chosen);
  const { classes, note } = classesOf(graph, seen, chosen, found, choice);
  if (note !== undefined) notes.push(note);
  const stranger =
    classes === undefined ? undefined : labelsIn(seen, found).find((each) => !classes.includes(each));
  // Only --classes can name others than the graph's.
  const label = stranger === undefined ? found : undefined;
  if (stranger !== undefined)
    notes.push(
      `The labels of ${found} in the graph, such as '${stranger}', are not the given classes: the label is the class with the largest number.`,
    );
  const column = columnOf(chosen, classes, choice, notes);
  const isShares = classes !== undefined && areShares(seen.get(chosen.tensor), chosen.width);
  if (classes !== undefined && !isShares)
    notes.push(
      `${chosen.name} is not a probability for each class, because its numbers do not add up to 1: its scale is "number".`,
    );
  const further = furtherOutputs(graph, seen, candidates, [chosen.name, chosen.tensor, found]);
  return {
    runtime: {
      output_tensor: chosen.name,
      ...(column === undefined ? {} : { output_column: column }),
      ...(label === undefined ? {} : { label_tensor: label }),
    },
    output: {
      name: chosen.name,
      dtype: chosen.dtype,
      meaning: meaningOf(chosen, classes, isShares),
      ...(classes === undefined ? {} : { classes }),
      ...(classes === undefined || isShares ? {} : { scale: 'number' as const }),
    },
    ...(further.length === 0 ? {} : { outputs: further }),
    notes,
  };
}

function candidatesOf(
  graph: Graph,
  seen: ReadonlyMap<string, SeenOutput>,
  { output }: OutputChoice,
): Candidate[] {
  return graph.outputs.flatMap(({ name, dtype }): Candidate[] => {
    const zipMap = graph.zipMaps.get(name);
    if (zipMap !== undefined) {
      const { tensor, classes } = zipMap;
      return [{ name, tensor, dtype: 'float32', width: classes.length, classes }];
    }
    if (dtype === undefined) {
      if (output !== undefined && output !== name) return [];
      throw refused(
        `its output ${name} is a sequence or a map, and no ZipMap makes it. Outputs have to be tensors${hasFloats(graph) ? ', or choose another one with --output' : ''}: export the graph without it, with options={'zipmap': False} in skl2onnx`,
      );
    }
    const known = dtypes.find((each) => each === dtype);
    const { width } = seen.get(name) ?? { width: 0 };
    return known === undefined || known === 'string' || width < 1
      ? []
      : [{ name, tensor: name, dtype: known, width }];
  });
}

function hasFloats({ outputs }: Graph): boolean {
  return outputs.some(({ dtype }) => dtype?.startsWith('float'));
}

/** A probability comes before other numbers, and these before labels. */
function choose(
  graph: Graph,
  candidates: readonly Candidate[],
  { output }: OutputChoice,
  notes: string[],
): Candidate {
  const all = graph.outputs.map((each) =>
    graph.zipMaps.has(each.name) ? `${each.name} (ZipMap)` : shapeText(each),
  );
  if (output !== undefined) {
    const wanted = candidates.find(({ name, tensor }) => name === output || tensor === output);
    if (wanted !== undefined) return wanted;
    throw refused(
      `it has no output ${output} with numbers. Its outputs are ${all.join(', ')}: choose one of them with --output`,
    );
  }
  if (candidates.length === 0) {
    throw refused(
      `it has no output with numbers, only ${all.join(', ')}. A score is a number: export the graph with its probabilities or decision values as an output as well`,
    );
  }
  const zipped = candidates.filter(({ classes }) => classes !== undefined);
  const floats = candidates.filter(({ dtype }) => isFloat(dtype));
  const [first] = zipped.length > 0 ? zipped : floats.length > 0 ? floats : candidates;
  if (first === undefined) throw new Error('unreachable: there is a candidate');
  if (!isFloat(first.dtype)) {
    notes.push(
      `The score is the ${first.dtype} output ${first.name}. If it is the label of a classifier, export the probabilities too.`,
    );
  }
  const rivals = (zipped.length > 0 ? zipped : floats).filter((each) => each !== first);
  if (rivals.length > 0) {
    notes.push(
      `The score is from the output ${first.name}. --output chooses another one: ${rivals.map(({ name }) => name).join(', ')}.`,
    );
  }
  return first;
}

/** Returns the output with one label per row, next to one with floating-point numbers. */
function labelOf(
  { outputs }: Graph,
  seen: ReadonlyMap<string, SeenOutput>,
  chosen: Candidate,
): string | undefined {
  if (!isFloat(chosen.dtype)) return undefined;
  const labels = outputs.filter(
    ({ name, dtype }) =>
      name !== chosen.name &&
      ['int64', 'string', 'bool'].includes(dtype ?? '') &&
      seen.get(name)?.width === 1,
  );
  return labels.length === 1 ? labels[0]?.name : undefined;
}

function labelsIn(seen: ReadonlyMap<string, SeenOutput>, label: string | undefined): string[] {
  return label === undefined ? [] : (seen.get(label)?.values.map(String) ?? []);
}

function classesOf(
  { classLabels }: Graph,
  seen: ReadonlyMap<string, SeenOutput>,
  { name, width, dtype, classes: zipped }: Candidate,
  label: string | undefined,
  { classes: named, defaultClasses, column, isSingle = false }: OutputChoice,
): { classes?: string[]; note?: string } {
  if (named !== undefined) {
    if (named.length === width && width > 1 && new Set(named).size === width) return { classes: [...named] };
    throw refused(
      `its output ${name} has ${width} columns, but --classes names ${named.length}: ${named.join(', ')}. Name each column once, in order`,
    );
  }
  if (column !== undefined || isSingle || width < 2 || !isFloat(dtype)) return {};
  const seenLabels = labelsIn(seen, label);
  const fits = (classes: readonly string[]): boolean =>
    classes.length === width && seenLabels.every((each) => classes.includes(each));
  if (zipped !== undefined && fits(zipped)) return { classes: zipped };
  const found = classLabels.find(fits);
  if (found !== undefined) return { classes: found };
  if (defaultClasses !== undefined && fits(defaultClasses)) return { classes: [...defaultClasses] };
  if (label === undefined) return {};
  const counted = Array.from({ length: width }, (_, index) => String(index));
  if (fits(counted)) {
    return {
      classes: counted,
      note: `The graph does not name its classes: ${counted.join(', ')} are assumed. --classes names them.`,
    };
  }
  throw refused(
    `its output ${name} has ${width} columns and its labels are such as '${seenLabels[0] ?? ''}', but it does not say which column is which. Name the classes in the order of the columns, with --classes a,b,…, or choose one column with --column`,
  );
}

function columnOf(
  { name, width }: Candidate,
  classes: readonly string[] | undefined,
  { column, isSingle = false }: OutputChoice,
  notes: string[],
): number | undefined {
  if (column !== undefined) {
    if (column < width) return width === 1 ? undefined : column;
    throw refused(`its output ${name} has ${width} columns; there is no column ${column}, counted from 0`);
  }
  if (isSingle && width > 2)
    throw refused(`its output ${name} has ${width} columns. Choose one with --column, from 0`);
  if (isSingle && width === 2) {
    notes.push('The score is the second of two columns, the probability of the second class.');
    return 1;
  }
  if (classes === undefined && width > 1) {
    notes.push(
      `${name} has ${width} numbers per row. All are in the prediction's outputs, and the score is the first. --column chooses another one, and --classes names them as probabilities of classes.`,
    );
  }
  return undefined;
}

function furtherOutputs(
  { outputs, zipMaps }: Graph,
  seen: ReadonlyMap<string, SeenOutput>,
  candidates: readonly Candidate[],
  taken: readonly (string | undefined)[],
): NonNullable<ModelManifest['outputs']> {
  return outputs.flatMap(({ name, dtype }) => {
    const known = dtypes.find((each) => each === dtype);
    const candidate = candidates.find((each) => each.name === name);
    if (taken.includes(name)) return [];
    if (zipMaps.has(name) && candidate?.classes !== undefined)
      return [{ name, dtype: candidate.dtype, classes: candidate.classes }];
    return known === undefined || !seen.has(name) ? [] : [{ name, dtype: known }];
  });
}

/** Whether each row's numbers are from 0 to 1 and add up to 1. */
function areShares(seen: SeenOutput | undefined, width: number): boolean {
  const numbers = (seen?.values ?? []).map(Number);
  for (let at = 0; at + width <= numbers.length; at += width) {
    const row = numbers.slice(at, at + width);
    const sum = row.reduce((total, each) => total + each, 0);
    if (row.some((each) => each < 0 || each > 1) || Math.abs(sum - 1) > 1e-3) return false;
  }
  return true;
}

function meaningOf(
  { name, width }: Candidate,
  classes: readonly string[] | undefined,
  isShares: boolean,
): string {
  if (classes !== undefined) return `${isShares ? 'probability' : 'value'} of each class`;
  return width === 1 ? `${name} of the graph` : `${width} numbers of the output ${name}`;
}
