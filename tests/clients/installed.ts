import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { projectRoot } from '../../platform/paths.js';

const sources = join(projectRoot, 'tests', 'clients');
const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace');

/** A client on this machine: how to start it, or what to do to have it. */
export type Client<Start> = { name: string } & ({ start: Start } | { missing: string });

/**
 * The tests of one client. When it is not installed they are skipped, and their heading says so.
 */
export function describeClient<Start>(client: Client<Start>, tests: (start: Start) => void): void {
  if ('start' in client) describe(client.name, () => tests(client.start));
  else describe.skip(`${client.name} IS NOT INSTALLED (${client.missing})`, () => tests(undefined as Start));
}

export function kcat(): Client<'kcat'> {
  const version = /Version (\S+)/.exec(output('kcat', ['-V']))?.[1];
  if (version === undefined) return { name: 'kcat', missing: 'Debian package kcat' };
  return { name: `kcat ${version}`, start: 'kcat' };
}

/** Apache Kafka's own clients and tools; `start` is the folder of the jars. */
export function apacheKafka(): Client<string> {
  const name = 'Apache Kafka';
  if (output('javac', ['-version']) === '') return { name, missing: 'a JDK' };
  const jars = output(process.execPath, [join(projectRoot, 'scripts', 'apache-kafka-jars.mjs'), '--cached']);
  if (jars === '') return { name, missing: 'tests/clients/install.sh' };
  return { name: `${name} ${/([\d.]+)-[0-9a-f]+$/.exec(jars)?.[1] ?? ''}`, start: jars };
}

/** `start` is the folder of the Go program, its modules already fetched. */
export function franzGo(): Client<string> {
  const folder = join(sources, 'go');
  if (output('go', ['version']) === '') return { name: 'franz-go', missing: 'Go' };
  const offline = { ...process.env, GOPROXY: 'off' };
  const fetched = spawnSync('go', ['mod', 'download'], { cwd: folder, env: offline }).status === 0;
  if (!fetched) return { name: 'franz-go', missing: 'tests/clients/install.sh' };
  const version = output('go', ['-C', folder, 'list', '-m', 'github.com/twmb/franz-go']).split(' ')[1];
  return { name: `franz-go ${version ?? ''}`, start: folder };
}

/** A Python package and the program that uses it. */
export function pythonClient(distribution: string, program: string): Client<[string, string]> {
  const python = join(cache, 'python-clients', 'bin', 'python');
  const ask = `import importlib.metadata as m; print(m.version("${distribution}"))`;
  const version = existsSync(python) ? output(python, ['-c', ask]) : '';
  if (version === '') return { name: distribution, missing: 'tests/clients/install.sh' };
  return { name: `${distribution} ${version}`, start: [python, join(sources, 'python', program)] };
}

/** What a program prints, or nothing when it fails or is not there. */
function output(command: string, args: string[]): string {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
}
