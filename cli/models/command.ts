import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../../platform/config.js';
import type { ImportCommandOptions } from './import.js';

interface Json {
  json?: boolean;
}

interface Waiting extends Json {
  wait: number;
}

/** `millrace models …`: clients of the HTTP API. */
export function modelsCommand(): Command {
  const command = new Command('models').description('look at model versions, and choose which of them serve');
  const config = () => loadConfig(process.env);
  const json = ['--json', 'as one JSON object'] as const;
  const wait = [
    '--wait <seconds>',
    'how long to wait until the process asked serves it',
    seconds,
    30,
  ] as const;

  command
    .command('list')
    .description('list all versions, and which of them serve')
    .argument('[name]', 'of one model only')
    .option(...json)
    .action(async (name: string | undefined, options: Json) => {
      const { listVersions } = await import('./list.js');
      await listVersions(config(), name, options);
    });
  command
    .command('register')
    .description('check a version and make it known; it serves nothing yet')
    .argument('<folder>', 'with model.onnx, model.json and golden.json')
    .option(...json)
    .action(async (folder: string, options: Json) => {
      const { registerFolder } = await import('./register.js');
      await registerFolder(config(), folder, options);
    });
  command
    .command('import')
    .description('register a version from an MLflow registry')
    .argument('<reference>', 'NAME@ALIAS or NAME/VERSION there')
    .requiredOption(
      '--tracking-uri <uri>',
      'address of the MLflow server',
      process.env['MLFLOW_TRACKING_URI'],
    )
    .option('--name <name>', 'the model here. Default: its name there')
    .option('--as <version>', 'the version here. Default: mlflow- and its number there')
    .option('--output <name>', 'the output of the graph that is the score, where there are several')
    .option('--column <n>', 'the column of that output, from 0; of two columns it is the second', wholeNumber)
    .option(...json)
    .action(async (reference: string, options: ImportCommandOptions) => {
      const { importVersion } = await import('./import.js');
      await importVersion(config(), reference, options);
    });
  command
    .command('promote')
    .description('make a version the champion: it answers from now on')
    .argument('<name>')
    .argument('<version>')
    .option(...wait)
    .option(...json)
    .action(async (name: string, version: string, options: Waiting) => {
      const { promote } = await import('./aliases.js');
      await promote(config(), name, version, options);
    });
  command
    .command('rollback')
    .description('make the version champion again that was it before')
    .argument('<name>')
    .option(...wait)
    .option(...json)
    .action(async (name: string, options: Waiting) => {
      const { rollback } = await import('./aliases.js');
      await rollback(config(), name, options);
    });
  command
    .command('challenge')
    .description('make a version the challenger, or change what the challenger does')
    .argument('<name>')
    .argument('<version>')
    .option('--shadow', 'it scores all events, and its predictions are kept beside the champion’s')
    .option('--canary <share>', 'share of the entities that it answers, 0 to 1', share, 0)
    .option(...wait)
    .option(...json)
    .action(
      async (name: string, version: string, options: Waiting & { shadow?: boolean; canary: number }) => {
        const { challenge } = await import('./aliases.js');
        await challenge(config(), name, version, options);
      },
    );
  command
    .command('clear')
    .description('take the challenger away')
    .argument('<name>')
    .option(...wait)
    .option(...json)
    .action(async (name: string, options: Waiting) => {
      const { clear } = await import('./aliases.js');
      await clear(config(), name, options);
    });
  return command;
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 3600) return value;
  throw new InvalidArgumentError('It has to be a number from 0 to 3600.');
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('It has to be a number from 0 to 1.');
}

function wholeNumber(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It has to be a whole number from 0 up.');
}
