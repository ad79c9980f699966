import { format, resolveConfig } from 'prettier';
import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';
import type { ModelManifest } from '../../models/manifest.js';
import type { ZooModel } from './train-zoo.js';

export interface TableRow {
  model: ZooModel;
  /** Unset if it could not be exported. */
  manifest?: ModelManifest;
  /** Why it is not served. Unset if it is. */
  problem?: string | undefined;
}

const head = `# Models that are served

Written by \`MILLRACE_WRITE=1 npm run test:zoo\`, and checked by \`npm run test:zoo\`. Each model is trained on data that scikit-learn ships or on rows drawn at
random, exported with \`models/training/millrace_export.py\`, and served. Rows that were not trained on are sent by
\`POST …/predict\`, by \`/v2/models/…/infer\` and as a csv file. A model counts as served if all three give the
library’s own predictions for every row: the same label, and the same numbers.

**The same number** is one that differs from the library’s by at most 1e-4 of it. There is one exception, for numbers
close to zero: they may differ by 5e-7 of the largest number that the library predicts for the rows sent, even if
that is more than 1e-4 of them.
`;

/** The page with all models, in the order given. */
export async function servedTable(rows: readonly TableRow[]): Promise<string> {
  const yes = rows.filter(({ problem }) => problem === undefined);
  const lines = rows.map((row) => `| ${cells(row).join(' | ')} |`);
  const page = [
    head,
    `${yes.length} of ${rows.length} models are served.`,
    '',
    '| model | library | inputs | outputs | served | why not |',
    '| --- | --- | --- | --- | --- | --- |',
    ...lines,
    '',
  ].join('\n');
  const file = join(packageRoot, 'docs', 'models-served.md');
  return format(page, { ...(await resolveConfig(file)), filepath: file });
}

function cells({ model, manifest, problem }: TableRow): string[] {
  return [
    model.name,
    `${model.library}: ${model.model ?? '?'}`,
    manifest === undefined ? '' : inputsOf(manifest),
    manifest === undefined ? '' : outputOf(manifest),
    problem === undefined ? 'yes' : 'no',
    problem === undefined ? '' : reason(problem),
  ];
}

function inputsOf({ inputs, runtime }: ModelManifest): string {
  const dtypes = [...new Set(inputs.map(({ dtype }) => dtype))].join(', ');
  const missing = inputs.some(({ missing: what }) => what !== undefined) ? ', missing values' : '';
  const encoded = inputs.some(({ encoding }) => encoding !== undefined) ? ', categories' : '';
  const how = runtime.input_tensor === undefined ? 'tensors' : 'columns';
  return `${inputs.length} ${how}: ${dtypes}${encoded}${missing}`;
}

function outputOf({ output }: ModelManifest): string {
  const { name, dtype, classes } = output;
  return classes === undefined ? `${name}: ${dtype}` : `${name} of ${classes.length} classes: ${dtype}`;
}

/** The first line that says what is wrong, without numbers that differ from machine to machine. */
function reason(problem: string): string {
  const [first = '', tried] = problem.split('\n- ');
  const said = (tried ?? first).split('\n')[0] ?? '';
  return (
    /^row \d+: the graph/.test(said) ? 'the graph that the converter makes predicts other values' : said
  )
    .replaceAll('|', '\\|')
    .trim();
}
