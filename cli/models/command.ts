import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../../platform/config.js';
import { withSampleOptions } from '../sample-options.js';
import type { AddOptions } from './add.js';
import type { ImportCommandOptions } from './import.js';

interface Json {
  json?: boolean;
}

interface WaitOptions extends Json {
  wait: number;
}

/**
 * `millrace models …`: clients of the HTTP API. While none answers, changes of aliases go to the log itself.
 */
export function modelsCommand(): Command {
  const command = new Command('models').description(
    'list and register model versions, and choose which of them serve',
  );
  const config = () => loadConfig(process.env);
  const json = ['--json', 'print one JSON object'] as const;
  const wait = [
    '--wait <seconds>',
    'wait up to this long until the process behind the API serves the change',
    seconds,
    30,
  ] as const;

  command
    .command('list')
    .description('list all versions and their roles')
    .argument('[name]', 'only this model')
    .option(...json)
    .action(async (name: string | undefined, options: Json) => {
      const { listVersions } = await import('./list.js');
      await listVersions(config(), name, options);
    });
  command
    .command('register')
    .description('validate and register a version, without serving it')
    .argument('<folder>', 'folder with model.onnx, model.json and golden.json')
    .option(...json)
    .action(async (folder: string, options: Json) => {
      const { registerFolder } = await import('./register.js');
      await registerFolder(config(), folder, options);
    });
  withSampleOptions(
    command
      .command('add')
      .description('write the folder of another version of a model in the project, from an ONNX file')
      .argument('<model>'),
  )
    .option('--version <version>', 'its name (default: the next number)')
    .option('--register', 'register it with the running system')
    .option(...json)
    .action(async (name: string, options: AddOptions) => {
      const { addModelVersion } = await import('./add.js');
      await addModelVersion(config(), name, options);
    });
  command
    .command('import')
    .description('register a version from an MLflow registry')
    .argument('<reference>', 'NAME@ALIAS or NAME/VERSION in MLflow')
    .requiredOption(
      '--tracking-uri <uri>',
      'address of the MLflow server',
      process.env['MLFLOW_TRACKING_URI'],
    )
    .option('--name <name>', 'model name in Millrace (default: its name in MLflow)')
    .option('--as <version>', 'version in Millrace (default: mlflow-<version in MLflow>)')
    .option('--output <name>', 'output of the graph that holds the score, if there are several')
    .option('--column <n>', 'column of that output, from 0 (default: the second of two columns)', wholeNumber)
    .option(...json)
    .action(async (reference: string, options: ImportCommandOptions) => {
      const { importVersion } = await import('./import.js');
      await importVersion(config(), reference, options);
    });
  command
    .command('promote')
    .description('make a version the champion')
    .argument('<name>')
    .argument('<version>')
    .option(...wait)
    .option(...json)
    .action(async (name: string, version: string, options: WaitOptions) => {
      const { promote } = await import('./aliases.js');
      await promote(config(), name, version, options);
    });
  command
    .command('rollback')
    .description('make the previous champion the champion again')
    .argument('<name>')
    .option(...wait)
    .option(...json)
    .action(async (name: string, options: WaitOptions) => {
      const { rollback } = await import('./aliases.js');
      await rollback(config(), name, options);
    });
  command
    .command('challenge')
    .description('make a version the challenger, or change its shadow and canary options')
    .argument('<name>')
    .argument('<version>')
    .option('--shadow', 'score all events with it and store its predictions next to the champion’s')
    .option('--canary <share>', 'share of entities that it answers, from 0 to 1', share, 0)
    .option(...wait)
    .option(...json)
    .action(
      async (name: string, version: string, options: WaitOptions & { shadow?: boolean; canary: number }) => {
        const { challenge } = await import('./aliases.js');
        await challenge(config(), name, version, options);
      },
    );
  command
    .command('clear')
    .description('remove the challenger')
    .argument('<name>')
    .option(...wait)
    .option(...json)
    .action(async (name: string, options: WaitOptions) => {
      const { clear } = await import('./aliases.js');
      await clear(config(), name, options);
    });
  command
    .command('unregister')
    .description('remove a version from the registered ones; its folder stays')
    .argument('<name>')
    .argument('<version>')
    .option('--force', 'also the champion, which the previous one replaces, or the challenger')
    .option(...wait)
    .option(...json)
    .action(async (name: string, version: string, options: WaitOptions & { force?: boolean }) => {
      const { unregister } = await import('./aliases.js');
      await unregister(config(), name, version, options);
    });
  return command;
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 3600) return value;
  throw new InvalidArgumentError('Must be a number from 0 to 3600.');
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('Must be a number from 0 to 1.');
}

function wholeNumber(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Must be a whole number, 0 or greater.');
}
