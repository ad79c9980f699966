import { relative } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../platform/config.js';
import type { NewPipeline } from '../processors/scaffold/new-pipeline.js';
import { collect } from './options.js';

interface NewOptions {
  model: string;
  sample?: string;
  key?: string;
  label?: string;
  prediction: string[];
  encode: string[];
  output?: string;
  column?: number;
  classes?: string[];
  json?: boolean;
}

/** `millrace new`: writes a pipeline for an ONNX model. */
export function newCommand(): Command {
  return withSampleOptions(
    new Command('new')
      .description('write a pipeline for an ONNX model: contract, model folder, pipeline.json, example, test')
      .argument('<pipeline>', 'its name, and that of its model'),
  )
    .option(
      '--key <field>',
      'column that names the subject of an event: events with one key keep their order',
    )
    .option('--json', 'print one JSON object')
    .action(async (name: string, options: NewOptions) => {
      const { newPipeline } = await import('../processors/scaffold/new-pipeline.js');
      const { MILLRACE_PROJECT: project, MAX_MODEL_BYTES: maxBytes, PORT: port } = loadConfig(process.env);
      const { model, sample, key, json } = options;
      const made = await newPipeline({
        project,
        name,
        model,
        sample,
        key,
        maxBytes,
        ...sampleOptions(options),
      });
      console.log(json ? JSON.stringify(made) : describe(name, made, { project, port }));
    });
}

/** Adds the options of commands that read an ONNX file and sample rows. */
export function withSampleOptions(command: Command): Command {
  return command
    .requiredOption('--model <file>', 'ONNX file')
    .option('--sample <file>', 'csv or jsonl file with rows as the model gets them')
    .option('--label <field>', 'column with the truth, which is no input')
    .option(
      '--prediction <field>',
      'column with the prediction of the training library, for the golden rows; may be repeated',
      collect,
      [],
    )
    .option(
      '--encode <field=file>',
      'JSON file with the number of each text of a column, {"red": 0, …}; may be repeated',
      collect,
      [],
    )
    .option('--output <name>', 'output of the graph that gives the score, if there are several')
    .option('--column <n>', 'column of that output with the score, from 0', wholeNumber)
    .option('--classes <names>', 'names of its columns, if they are classes: a,b,c', (text: string) =>
      text.split(',').map((each) => each.trim()),
    );
}

/** Returns the options for reading the graph and the sample. */
export function sampleOptions({
  label,
  prediction,
  encode,
  output,
  column,
  classes,
}: Omit<NewOptions, 'model'>): {
  label: string | undefined;
  predictions: string[];
  encodings: Map<string, string>;
  choice: { output: string | undefined; column: number | undefined; classes: string[] | undefined };
} {
  return {
    label,
    predictions: prediction,
    encodings: new Map(encode.map(encoding)),
    choice: { output, column, classes },
  };
}

function encoding(text: string): [column: string, file: string] {
  const at = text.lastIndexOf('=');
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw new InvalidArgumentError(`--encode takes COLUMN=FILE.json, not '${text}'.`);
}

function wholeNumber(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Must be a whole number, 0 or greater.');
}

function describe(
  name: string,
  { files, notes, answer }: NewPipeline,
  { project, port }: { project: string; port: number },
): string {
  const label = answer.label === null ? '' : `, label ${answer.label}`;
  const place = relative(process.cwd(), project);
  return [
    `Wrote the pipeline ${name}${place === '' ? '' : ` to ${place}`}:`,
    ...files.map((file) => `  ${file}`),
    ...(notes.length === 0 ? [] : ['What was assumed:', ...notes.map((note) => `  - ${note}`)]),
    `Its example has the score ${answer.score}${label}. Next:`,
    `  node --test tests/${name}.test.mjs`,
    '  npx millrace up',
    `  curl -s http://localhost:${port}/v1/pipelines/${name}/predict -H 'content-type: application/json' -d @examples/${name}.json`,
  ].join('\n');
}
