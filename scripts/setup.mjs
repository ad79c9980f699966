// Makes a checkout runnable with nothing but Node: installs what the lock file names, compiles what changed.
// Plain JavaScript without dependencies, because it runs before there are any.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const buildStamp = join(root, 'dist', '.built');
const skippedFolders = new Set(['node_modules', 'dist', '.git', '.millrace']);

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `Millrace needs Node 20.19 or later; this is ${process.versions.node}. Install a newer Node and try again.`,
  );
  process.exit(1);
}

if (modified(join(root, 'package-lock.json')) > modified(join(root, 'node_modules', '.package-lock.json'))) {
  run('Installing packages', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}
if (process.argv.includes('--build') || newestSource(root) > modified(buildStamp)) {
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  run('Compiling', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc')]);
  writeFileSync(buildStamp, '');
}

function modified(file) {
  return existsSync(file) ? statSync(file).mtimeMs : 0;
}

function newestSource(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && !skippedFolders.has(entry.name)) newest = Math.max(newest, newestSource(path));
    else if (/(\.ts|^tsconfig\.json|^package-lock\.json)$/.test(entry.name))
      newest = Math.max(newest, modified(path));
  }
  return newest;
}

function run(title, command, args) {
  console.error(`${title} …`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    console.error(`${title} failed${error ? `: ${error.message}` : ''}. The lines above say why.`);
    process.exit(1);
  }
}
