import { type Command, InvalidArgumentError } from 'commander';
import { collect } from './options.js';

/** Options of commands that read an ONNX file and sample rows. */
export interface SampleOptions {
  model: string;
  sample?: string;
  prediction: string[];
  output?: string;
  column?: number;
  classes?: string[];
}

export function withSampleOptions(command: Command): Command {
  return command
    .requiredOption('--model <file>', 'ONNX file')
    .option('--sample <file>', 'csv or jsonl file with rows as the model gets them')
    .option(
      '--prediction <field>',
      'column with the prediction of the training library, for the golden rows; may be repeated',
      collect,
      [],
    )
    .option('--output <name>', 'output of the graph that gives the score, if there are several')
    .option('--column <n>', 'column of that output with the score, from 0', wholeNumber)
    .option('--classes <names>', 'names of its columns, if they are classes: a,b,c', names);
}

/** Returns the options about predictions and outputs. */
export function choicesOf({ prediction, output, column, classes }: SampleOptions): {
  predictions: string[];
  choice: { output: string | undefined; column: number | undefined; classes: string[] | undefined };
} {
  return { predictions: prediction, choice: { output, column, classes } };
}

function names(text: string): string[] {
  return text.split(',').map((each) => each.trim());
}

function wholeNumber(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Must be a whole number, 0 or greater.');
}
