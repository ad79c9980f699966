import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Endpoints } from '../../app/endpoints.js';
import { packageRoot } from '../../platform/paths.js';
import { freePorts, isolated, type Program, startCommand } from '../system/programs.js';

/** Scores the example with a pipeline, as a test of a user does. */
const scoreExample = `
  import { readFile } from 'node:fs/promises';
  import { scorePipeline } from 'millrace/testing';
  const event = JSON.parse(await readFile('examples/credit-default.json', 'utf8'));
  const [, pipeline] = process.argv;
  await scorePipeline(pipeline, event).then(console.log, (error) => console.log(error.code, error.message));
`;

const typedPipeline = `
import { definePipeline, type Feature } from 'millrace';

interface Client {
  readonly LIMIT_BAL: number;
}

export const pipeline = definePipeline<Client>({
  name: 'typed',
  models: ['credit-default'],
  features: (client): Feature[] => Object.values(client),
});
`;

describe('the package, installed into an empty folder', () => {
  let folder: string;
  const path = (...names: string[]): string => join(folder, ...names);
  const settings = { HOST: '127.0.0.1', PORT: '0', LOG_LEVEL: 'warn' };
  /** Starts a command of the package in the project. */
  const start = (args: string[], more: Record<string, string>): Program => {
    const program = path('node_modules', '.bin', 'millrace');
    return startCommand('env', ['-C', folder, process.execPath, program, ...args], { ...settings, ...more });
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-project-'));
    run('npm', ['pack', '--pack-destination', folder], packageRoot);
    const [tarball = ''] = await readdir(folder);
    run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', join(folder, tarball)], folder);
    run('npx', ['millrace', 'init', '.'], folder);
    await mkdir(path('processors/pipelines/typed'));
    await cp(path('schemas/credit-default'), path('schemas/typed'), { recursive: true });
    await writeFile(path('processors/pipelines/typed/pipeline.ts'), typedPipeline);
  }, 600_000);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('contains compiled code with types, and neither tests, benchmarks nor sources', async () => {
    const files = await readdir(path('node_modules/millrace'), { recursive: true });
    expect(files).toEqual(
      expect.arrayContaining([
        'LICENSE',
        'README.md',
        'dist/public/index.d.ts',
        'dist/embedded/kafka/worker.js',
        'models/training/millrace_export.py',
      ]),
    );
    const unwanted =
      /(^|\/)(tests?|testing|benchmarks)\/|\.test\.|\.map$|(?<!\.d)\.ts$|(?<!millrace_export)\.py$|^scripts|\.millrace/;
    expect(files.filter((file) => unwanted.test(file))).toEqual([]);
  });

  it('runs the tests of the project that millrace init wrote', () => {
    expect(run('npm', ['test'], folder)).toMatch(/pass 2\b/);
  });

  it('has types for a pipeline in TypeScript', () => {
    const types = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2023', '--types', 'node'];
    const roots = ['--typeRoots', join(packageRoot, 'node_modules/@types')];
    const compiler = join(packageRoot, 'node_modules/typescript/bin/tsc');
    const file = path('processors/pipelines/typed/pipeline.ts');
    run(process.execPath, [compiler, '--ignoreConfig', ...types, ...roots, file], folder);
  });

  it.each([
    ['22', /score: 0\.\d+/],
    ['20', /PIPELINE_INVALID Node 20\S+ can’t run .*pipeline\.ts\. Use Node 22\.18 or later, compile it/],
  ])(
    'on Node %s, a pipeline in TypeScript gives %s',
    (version, expected) => {
      const withNode = join(packageRoot, 'scripts/with-node.mjs');
      const node = ['node', '--input-type=module', '-e', scoreExample, 'typed'];
      expect(run(process.execPath, [withNode, version, '--', ...node], folder)).toMatch(expected);
      // It may have to fetch that Node.
    },
    300_000,
  );

  it('runs the whole system, and roles beside it, which score an event and store it', async () => {
    const ports = await freePorts('serve', 'kafka', 'registry', 'clickhouse');
    const up = start(['up', '--no-demo'], {
      KAFKA_PORT: String(ports.kafka),
      SCHEMA_REGISTRY_PORT: String(ports.registry),
      CLICKHOUSE_PORT: String(ports.clickhouse),
    });
    let serve: Program | undefined;
    try {
      const endpoints = await vi.waitFor(
        async () => {
          if (up.hasExited()) throw new Error(up.output());
          return JSON.parse(await readFile(path('.millrace/endpoints.json'), 'utf8')) as Endpoints;
        },
        { timeout: 60_000, interval: 100 },
      );
      expect(up.output()).toContain('-d @examples/credit-default.json');
      serve = start(['serve'], {
        PORT: String(ports.serve),
        KAFKA_BROKERS: endpoints.kafka.join(','),
        SCHEMA_REGISTRY_URL: endpoints.schema_registry,
        CLICKHOUSE_URL: endpoints.clickhouse,
      });
      const event = JSON.parse(await readFile(path('examples/credit-default.json'), 'utf8')) as object;
      for (const [id, http] of [
        ['by-up', endpoints.http],
        ['by-serve', `http://127.0.0.1:${ports.serve}`],
      ]) {
        const answer = await vi.waitFor(
          async () => {
            const response = await fetch(`${http}/v1/pipelines/credit-default/predict`, {
              method: 'POST',
              headers: { 'content-type': 'application/json' },
              body: JSON.stringify({ ...event, event_id: id }),
            });
            expect(response.status, serve?.output()).toBe(200);
            return (await response.json()) as { score: number };
          },
          { timeout: 60_000, interval: 100 },
        );
        expect(answer.score).toBeGreaterThan(0);
      }
      const sql = "SELECT count() FROM millrace.predictions WHERE event_id IN ('by-up', 'by-serve')";
      await vi.waitFor(() => expect(run('npx', ['millrace', 'sql', sql], folder).trim()).toBe('2'), {
        timeout: 60_000,
        interval: 500,
      });
      up.signal('SIGINT');
      expect(await up.exited).toBe(0);
    } finally {
      await serve?.kill();
      await up.kill();
    }
  }, 240_000);
});

/** @returns the command's standard output. */
function run(command: string, args: string[], cwd: string): string {
  const env = { ...process.env, ...isolated };
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8' });
  expect(status, `${command} ${args.join(' ')}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}
