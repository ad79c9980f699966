import { relative } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../platform/config.js';
import type { NewPipeline } from '../processors/scaffold/new-pipeline.js';
import { collect } from './options.js';
import { choicesOf, type SampleOptions, withSampleOptions } from './sample-options.js';

interface NewOptions extends SampleOptions {
  key?: string;
  label?: string;
  encode: string[];
  json?: boolean;
}

/** `millrace new`: writes a pipeline for an ONNX model. */
export function newCommand(): Command {
  return withSampleOptions(
    new Command('new')
      .description('write a pipeline for an ONNX model: contract, model folder, pipeline.json, example, test')
      .argument('<pipeline>', 'its name, and that of its model'),
  )
    .option('--label <field>', 'column with the truth, which is no input')
    .option(
      '--key <field>',
      'column that names the subject of an event: events with one key keep their order',
    )
    .option(
      '--encode <field=file>',
      'JSON file with the number of each text of a column, {"red": 0, …}; may be repeated',
      collect,
      [],
    )
    .option('--json', 'print one JSON object')
    .action(async (name: string, options: NewOptions) => {
      const { newPipeline } = await import('../processors/scaffold/new-pipeline.js');
      const { MILLRACE_PROJECT: project, MAX_MODEL_BYTES: maxBytes, PORT: port } = loadConfig(process.env);
      const { model, sample, key, label, encode, json } = options;
      const files = { project, name, model, sample, encodings: new Map(encode.map(encoding)), maxBytes };
      const made = await newPipeline({ ...files, key, label, ...choicesOf(options) });
      console.log(json ? JSON.stringify(made) : describe(name, made, { project, port }));
    });
}

function encoding(text: string): [column: string, file: string] {
  const at = text.lastIndexOf('=');
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw new InvalidArgumentError(`--encode takes COLUMN=FILE.json, not '${text}'.`);
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
