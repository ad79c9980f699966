import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import type { Command } from './program.js';

const sources = join(packageRoot, 'tests', 'clients');
const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace');
const installScript = 'tests/clients/install.sh';

/** A client: how to start it, and where to get it if it is not installed. */
export interface Client<Start> {
  name: string;
  start: Start;
  missing?: string;
}

/** Declares the tests of one client. They are skipped if it is not installed, and their heading says so. */
export function describeClient<Start>(
  { name, start, missing }: Client<Start>,
  tests: (start: Start) => void,
): void {
  const reason = missing === undefined ? '' : ` IS NOT INSTALLED (get it with ${missing})`;
  describe.skipIf(missing !== undefined)(`${name}${reason}`, () => {
    tests(start);
  });
}

export function kcat(): Client<Command> {
  const version = /Version (\S+)/.exec(output('kcat', ['-V']))?.[1];
  const client: Client<Command> = { name: `kcat ${version ?? ''}`.trim(), start: ['kcat'] };
  return version === undefined ? { ...client, missing: 'apt-get install kcat' } : client;
}

/**
 * Apache Kafka's own clients and tools; `start` is a small JVM that has them, and takes a main class or a
 * source file.
 */
export function apacheKafka(): Client<Command> {
  const script = join(packageRoot, 'scripts', 'apache-kafka-jars.mjs');
  const jars = output(process.execPath, [script, '--cached']);
  const version = /([\d.]+)-[0-9a-f]+$/.exec(jars)?.[1] ?? '';
  const settings = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
  const logging = '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn';
  const client: Client<Command> = {
    name: `Apache Kafka ${version}`.trim(),
    start: ['java', ...settings, logging, '-cp', join(jars, '*')],
  };
  if (output('javac', ['-version']) === '') return { ...client, missing: 'a JDK 17' };
  return jars === '' ? { ...client, missing: installScript } : client;
}

/** `start` is the folder of the Go program. */
export function franzGo(): Client<string> {
  const folder = join(sources, 'go');
  if (output('go', ['version']) === '') return { name: 'franz-go', start: folder, missing: 'Go 1.26' };
  const offline = { ...process.env, GOPROXY: 'off' };
  const fetched = spawnSync('go', ['mod', 'download'], { cwd: folder, env: offline }).status === 0;
  if (!fetched) return { name: 'franz-go', start: folder, missing: installScript };
  const version = output('go', ['-C', folder, 'list', '-m', 'github.com/twmb/franz-go']).split(' ')[1];
  return { name: `franz-go ${version ?? ''}`, start: folder };
}

/** A Python package, and the program in this folder that uses it. */
export function pythonClient(distribution: string, program: string): Client<Command> {
  const python = join(cache, 'python-clients', 'bin', 'python');
  const ask = `import importlib.metadata as m; print(m.version("${distribution}"))`;
  const version = output(python, ['-c', ask]);
  const client: Client<Command> = {
    name: `${distribution} ${version}`.trim(),
    start: [python, join(sources, 'python', program)],
  };
  return version === '' ? { ...client, missing: installScript } : client;
}

/** A client for Node in versions that Millrace itself does not support. */
export function platformaticKafka(): Client<Command> {
  const folder = join(sources, 'node');
  const manifest = join(folder, 'node_modules', '@platformatic', 'kafka', 'package.json');
  const version = existsSync(manifest)
    ? (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
    : '';
  const onNode24 = [join(packageRoot, 'scripts', 'with-node.mjs'), '24', '--', 'node'];
  const client: Client<Command> = {
    name: `@platformatic/kafka ${version}`.trim(),
    start: [process.execPath, ...onNode24, join(folder, 'platformatic-client.mjs')],
  };
  return version === '' ? { ...client, missing: installScript } : client;
}

/** An MLflow server, and the program in this folder that logs models to it. */
export function mlflow(): Client<{ server: Command; models: Command }> {
  const python = join(cache, 'mlflow', 'bin', 'python');
  const version = output(python, ['-c', 'import importlib.metadata as m; print(m.version("mlflow-skinny"))']);
  const client: Client<{ server: Command; models: Command }> = {
    name: `MLflow ${version}`.trim(),
    start: {
      server: [python, '-m', 'mlflow', 'server'],
      models: [python, join(sources, 'python', 'mlflow_models.py')],
    },
  };
  return version === '' ? { ...client, missing: installScript } : client;
}

/** `start` is the folder of PostgreSQL's programs; Debian does not put the server's programs on the PATH. */
export function postgresql(): Client<string> {
  const versions = '/usr/lib/postgresql';
  const debian = existsSync(versions) ? readdirSync(versions).map((name) => join(versions, name, 'bin')) : [];
  const folders = [...debian, ...(process.env['PATH'] ?? '').split(delimiter)];
  const start = folders.find((folder) => existsSync(join(folder, 'initdb'))) ?? '';
  const version = /[\d.]+/.exec(output('psql', ['--version']))?.[0];
  const client: Client<string> = { name: `PostgreSQL ${version ?? ''}`.trim(), start };
  const isMissing = start === '' || version === undefined;
  return isMissing ? { ...client, missing: 'apt-get install postgresql' } : client;
}

/** Returns a program's output, or nothing when it fails or is missing. */
function output(command: string, args: string[]): string {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
}
