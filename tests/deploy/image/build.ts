// Runs the steps of the Dockerfile without a Docker engine: each stage is an overlay on this machine's root,
// where `RUN` is a chroot. Everything happens in memory and in a private mount namespace, which lasts until
// standard input ends:
//
//   unshare --mount node dist/tests/deploy/image/build.js <Dockerfile> <folder> [<program of another Node>]
//
// Then <folder>/<stage>/layer contains the files that a stage wrote; `built` on standard output marks the
// end.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { readDockerfile, type Stage } from './dockerfile.js';

const [dockerfile = '', folder = '', otherNode] = process.argv.slice(2);
const context = dirname(resolve(dockerfile));
const included = readFileSync(join(context, '.dockerignore'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('!'))
  .map((line) => line.slice(1));

// Layers of an overlay may not be nested: the folder must be a separate file system.
run('mount', ['-t', 'tmpfs', 'tmpfs', folder]);
const binaries = join(folder, 'base', 'usr', 'local', 'bin');
mkdirSync(binaries, { recursive: true });
if (otherNode !== undefined) cpSync(otherNode, join(binaries, 'node'));
for (const stage of readDockerfile(dockerfile)) build(stage);
process.stdout.write('built\n');
process.stdin.on('end', () => process.exit()).resume();

function build(stage: Stage): void {
  const root = openStage(stage.name);
  let workdir = '/';
  for (const { name, text } of stage.instructions) {
    if (name === 'WORKDIR') {
      workdir = text;
      mkdirSync(join(root, workdir), { recursive: true });
    }
    if (name === 'COPY') copy(root, workdir, text.split(/\s+/));
    if (name === 'RUN') {
      console.error(`${stage.name}: ${text}`);
      run('chroot', [root, '/bin/sh', '-ec', `cd ${workdir} && ${text}`]);
    }
  }
}

/** The project and all temporary files are hidden, so that a stage sees only copied files. */
function openStage(name: string): string {
  const stage = join(folder, name);
  const root = rootOf(name);
  for (const part of ['layer', 'work', 'root']) mkdirSync(join(stage, part), { recursive: true });
  const layers = `lowerdir=${join(folder, 'base')}:/,upperdir=${join(stage, 'layer')},workdir=${join(stage, 'work')}`;
  run('mount', ['-t', 'overlay', 'overlay', '-o', layers, root]);
  run('mount', ['--rbind', '/dev', join(root, 'dev')]);
  run('mount', ['-t', 'proc', 'proc', join(root, 'proc')]);
  for (const hidden of ['/tmp', `/${context.split('/')[1] ?? ''}`]) {
    run('mount', ['-t', 'tmpfs', 'tmpfs', join(root, hidden)]);
  }
  return root;
}

function copy(root: string, workdir: string, words: string[]): void {
  const from = /^--from=(.+)$/.exec(words[0] ?? '')?.[1];
  const sources = from === undefined ? words.slice(0, -1) : words.slice(1, -1);
  const target = resolve('/', workdir, words.at(-1) ?? '');
  const several = sources.length > 1 || (words.at(-1) ?? '').endsWith('/');
  for (const source of sources) {
    for (const path of from === undefined ? inContext(source) : [join(rootOf(from), source)]) {
      const isFolder = statSync(path).isDirectory();
      const inside = (source === '.' || !isFolder) && several;
      const to = join(root, target, inside || source === '.' ? basename(path) : '');
      cpSync(path, to, { recursive: true, verbatimSymlinks: true });
    }
  }
}

/** Returns the paths of the build's context, without those that `.dockerignore` excludes. */
function inContext(source: string): string[] {
  if (source === '.') return included.map((name) => join(context, name));
  const [top = ''] = source.split('/');
  if (!included.includes(top)) throw new Error(`COPY ${source}: .dockerignore leaves it out`);
  return [join(context, source)];
}

function rootOf(stage: string): string {
  return join(folder, stage, 'root');
}

function run(command: string, args: string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? `exit code ${status}`}`);
}
