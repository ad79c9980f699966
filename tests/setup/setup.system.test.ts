import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';

const run = promisify(execFile);

/** The whole project, then the package of the embedded engines. */
const compiled = 'compiled compiled ';

let root: string;

/** A separate project, whose compiler and npm record their runs. */
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-setup-'));
  for (const folder of ['scripts', 'bin', 'source', 'node_modules/typescript/bin']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await copyFile(join(packageRoot, 'scripts', 'setup.mjs'), join(root, 'scripts', 'setup.mjs'));
  const note = (line: string) => `const fs = require('node:fs');
fs.mkdirSync('dist', { recursive: true });
fs.appendFileSync('ran', '${line} ');
`;
  await writeFile(join(root, 'node_modules/typescript/bin/tsc'), note('compiled'));
  await writeFile(join(root, 'bin/npm'), `#!${process.execPath}\n${note('installed')}`);
  await chmod(join(root, 'bin/npm'), 0o755);
  await lockFile('package-lock.json', '1.0.0');
  await lockFile('node_modules/.package-lock.json', '1.0.0');
  await source('one.ts');
  await setUp();
});

afterEach(() => rm(root, { recursive: true }));

/** Returns the recorded runs of the compiler and npm during one setup. */
async function setUp(): Promise<string> {
  await rm(join(root, 'ran'), { force: true });
  const env = { ...process.env, PATH: `${join(root, 'bin')}:${process.env['PATH']}` };
  await run(process.execPath, [join(root, 'scripts/setup.mjs')], { env });
  return readFile(join(root, 'ran'), 'utf8').catch(() => '');
}

function lockFile(path: string, version: string): Promise<void> {
  return writeFile(join(root, path), JSON.stringify({ packages: { 'node_modules/a': { version } } }));
}

async function source(name: string, at = new Date()): Promise<void> {
  await writeFile(join(root, 'source', name), 'export {};\n');
  await utimes(join(root, 'source', name), at, at);
}

it('does nothing when nothing has changed', async () => {
  expect(await setUp()).toBe('');
});

it('compiles after a file was added, however old, removed or restored', async () => {
  await source('two.ts', new Date('2020-01-01'));
  expect(await setUp()).toBe(compiled);
  await rename(join(root, 'source/two.ts'), join(root, 'two'));
  expect(await setUp()).toBe(compiled);
  await rename(join(root, 'two'), join(root, 'source/two.ts'));
  expect(await setUp()).toBe(compiled);
  expect(await setUp()).toBe('');
});

it('installs when the lock file changed, however old it is', async () => {
  await lockFile('package-lock.json', '0.9.0');
  await utimes(join(root, 'package-lock.json'), new Date('2020-01-01'), new Date('2020-01-01'));
  expect(await setUp()).toBe(`installed ${compiled}`);
});

it('reports in one line that the limit of open files is too low', async () => {
  const script = `ulimit -n 64; exec "$0" "$1"`;
  await expect(
    run('/bin/sh', ['-c', script, process.execPath, join(root, 'scripts/setup.mjs')]),
  ).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^Millrace needs to open 256 files .* `ulimit -n 4096`.*\n$/) as string,
  });
});
