import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { modelsCommand } from '../../cli/models/command.js';
import { overviewCommands } from '../../cli/overview.js';
import { VersionFolders } from '../../models/testing/version-folders.js';
import { startProgram } from './programs.js';
import { type Finished, runCommand } from './run-command.js';
import { startSystem, type TestSystem } from './start.js';

let system: TestSystem;
const folders = new VersionFolders();

beforeAll(async () => {
  system = await startSystem({ API_KEYS: 'a-key' });
});

afterAll(async () => {
  await system.stop();
  await folders.remove();
});

const settings = () => ({ MILLRACE_URL: system.endpoints.http, MILLRACE_API_KEY: 'a-key' });

/** Runs `millrace …` in a process, and returns its output. */
async function millrace(...args: string[]): Promise<Finished> {
  const program = startProgram('cli/main.js', args, settings());
  return { exit: await program.exited, output: program.output().trim() };
}

function overview(name: string): Promise<Finished> {
  const command = overviewCommands().find((each) => each.name() === name);
  if (command === undefined) throw new Error(`there is no command ${name}`);
  return runCommand(command, [], settings());
}

const models = (...args: string[]): Promise<Finished> => runCommand(modelsCommand(), args, settings());

function cells(table: string): string[][] {
  return table.split('\n').map((line) => line.split(/ {2,}/));
}

it('shows the state of the system, and its parts', async () => {
  const status = await millrace('status');
  expect(status.exit, status.output).toBe(0);
  expect(cells(status.output)).toEqual(
    expect.arrayContaining([
      ['PART', 'STATUS', 'DETAIL'],
      ['models', 'up'],
      ['(all)', 'up', system.endpoints.http],
    ]),
  );
  expect(cells((await overview('pipelines')).output)).toContainEqual([
    'credit-default',
    'up',
    'credit-default 1',
    'credit-default.events',
  ]);
  expect(await overview('jobs')).toEqual({
    exit: 0,
    output: 'JOB  PIPELINE  STATE  ROWS  FAILED  CREATED  FILE',
  });
});

it('refuses an unknown command, and starts nothing', async () => {
  expect(await millrace('jbos')).toMatchObject({
    exit: 1,
    output: expect.stringMatching(/^Unknown command 'jbos'\. Commands: .*\bjobs\b/) as string,
  });
});

it('takes a version from its folder to champion and back', async () => {
  const folder = await folders.make('2');
  expect(await models('register', folder)).toMatchObject({
    exit: 0,
    output: expect.stringMatching(/^Registered credit-default 2 /) as string,
  });
  expect(await models('register', folder)).toMatchObject({
    exit: 0,
    output: expect.stringContaining('is already registered') as string,
  });

  const challenged = await models('challenge', 'credit-default', '2', '--shadow', '--canary', '0.25');
  expect(challenged).toMatchObject({
    exit: 0,
    output: expect.stringMatching(/version 2 is challenger since .* in shadow, answers 25 %/) as string,
  });
  const table = cells((await models('list', 'credit-default')).output);
  expect(table.map((row) => row.slice(0, 3))).toEqual([
    ['MODEL', 'VERSION', 'ROLE'],
    ['credit-default', '2', 'challenger (shadow, canary 0.25)'],
    ['credit-default', '1', 'champion'],
  ]);
  expect(await models('clear', 'credit-default')).toMatchObject({
    exit: 0,
    output: expect.stringMatching(/no challenger\.$/) as string,
  });

  // The command waits for that: the process serves the version when the command ends.
  const promoted = await models('promote', 'credit-default', '2', '--json');
  expect(promoted.exit).toBe(0);
  const { champion } = JSON.parse(promoted.output) as { champion: { version: string; model_event: number } };
  expect(await (await authorized('/v1/models/credit-default')).json()).toMatchObject({
    serving: { champion: { version: '2', model_event: champion.model_event }, problems: [] },
  });
  expect(await models('rollback', 'credit-default')).toMatchObject({
    exit: 0,
    output: expect.stringMatching(/^credit-default: version 1 is champion .* before it 2\)/) as string,
  });
}, 120_000);

it('reports when the promoted version is not served', async () => {
  expect((await models('register', await folders.make('gone'))).exit).toBe(0);
  await rm(join(system.dataDir, 'models', 'credit-default', 'gone'), { recursive: true });
  expect(await models('promote', 'credit-default', 'gone')).toMatchObject({
    exit: 1,
    output: expect.stringMatching(/still serves version 1: credit-default gone cannot be loaded/) as string,
  });
  expect((await models('rollback', 'credit-default')).exit).toBe(0);
});

it.each([
  ['a folder that is none', ['register', '/no/such/folder'], 'A version folder contains model.onnx'],
  ['a model that is a path', ['list', '../../etc'], "There is no model '../../etc'"],
  ['an unknown version', ['promote', 'credit-default', '9'], "no version '9'"],
  ['a share over 1', ['challenge', 'credit-default', '1', '--canary', '2'], 'a number from 0 to 1'],
  [
    'a tracking URI that is no server',
    ['import', 'm@a', '--tracking-uri', 'file:///tmp', '--name', 'car-price-a'],
    'address of an MLflow server',
  ],
])('ends with 1 and a reason for %s', async (_name, args, reason) => {
  expect(await models(...args)).toMatchObject({ exit: 1, output: expect.stringContaining(reason) as string });
});

function authorized(path: string): Promise<Response> {
  return fetch(system.endpoints.http + path, { headers: { 'x-api-key': 'a-key' } });
}
