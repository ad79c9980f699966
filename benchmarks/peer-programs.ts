import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../platform/paths.js';

// What the peers in other languages need is installed on first use, into the cache folder of this user.
// Nothing is skipped: a benchmark that can't install its peer fails, with the output of the installer.
const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace');

/** Returns the Python of a virtual environment with the packages of the benchmark's `requirements.txt`. */
export function pythonFor(benchmark: string): string {
  const { file, folder } = placesOf(benchmark, 'requirements.txt');
  const python = join(folder, 'bin', 'python');
  // Both change nothing if everything is there.
  run('Python 3.11 or later with venv', 'python3', '-m', 'venv', folder);
  const wheels = ['--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:'];
  run('packages of PyPI', python, '-m', 'pip', 'install', ...wheels, '--requirement', file);
  return python;
}

/** Returns the class path with the dependencies of the benchmark's `pom.xml`. */
export function javaClassPathFor(benchmark: string): string {
  const { file, folder } = placesOf(benchmark, 'pom.xml');
  const quiet = ['-q', '-B', '-Dstyle.color=never'];
  const copy = ['dependency:copy-dependencies', `-DoutputDirectory=${folder}`];
  run('a JDK 17, Maven and Maven Central', 'mvn', ...quiet, '-f', file, ...copy);
  return join(folder, '*');
}

/** Downloads Apache Kafka's server if it is missing. Import the module that starts it afterwards. */
export function fetchApacheKafka(): void {
  const script = join(packageRoot, 'scripts', 'apache-kafka-jars.mjs');
  run('a JDK 17, Maven and Maven Central', process.execPath, script);
}

/** Other versions of packages are installed to another folder. */
function placesOf(benchmark: string, name: string): { file: string; folder: string } {
  const file = join(packageRoot, 'benchmarks', benchmark, name);
  const digest = createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 8);
  return { file, folder: join(cache, `bench-${benchmark}-${digest}`) };
}

function run(needed: string, command: string, ...args: string[]): void {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  const why = error === undefined ? `${stdout}\n${stderr}` : error.message;
  throw new Error(`This benchmark needs ${needed}, and ${command} failed:\n${why}`);
}
