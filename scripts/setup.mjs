// Prepares a checkout with only Node: installs the dependencies of the lock file, and compiles changed code.
// With --install it compiles nothing, with --build all.
// Plain JavaScript without dependencies, because it runs before they are installed.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
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

// Node itself raises the limit as far as allowed. Below this number not even the program's files could all be
// opened.
const leastOpenFiles = 256;
const openFiles = openFilesLimit();
if (openFiles < leastOpenFiles) {
  console.error(
    `Millrace needs to open ${leastOpenFiles} files or more at once, and this shell allows ${openFiles}. ` +
      'Allow more, as with `ulimit -n 4096`, and try again.',
  );
  process.exit(1);
}

if (!isInstalled()) {
  run('Installing packages', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}
const sources = describeSources(root);
const isBuilt = existsSync(buildStamp) && readFileSync(buildStamp, 'utf8') === sources;
if (process.argv.includes('--build') || (!isBuilt && !process.argv.includes('--install'))) {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  for (const folder of ['dist', join('embedded', 'dist')])
    rmSync(join(root, folder), { recursive: true, force: true });
  run('Compiling', process.execPath, [compiler]);
  // The package of the embedded engines has its own output: its code and the files of platform/ that it
  // imports.
  run('Compiling @millrace/embedded', process.execPath, [compiler, '--project', 'embedded']);
  writeFileSync(buildStamp, sources);
}

/** Returns the maximum number of open files of this process; infinite if unknown. */
function openFilesLimit() {
  if (!existsSync('/proc/self/limits')) return Infinity;
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return soft === undefined ? Infinity : Number(soft);
}

/** Whether node_modules matches the lock file, by npm's own list of installed packages. */
function isInstalled() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const { packages: there } = JSON.parse(readFileSync(installed, 'utf8'));
  const { packages: wanted } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || there[path]?.version === version || (optional && there[path] === undefined),
  );
}

/** Returns one line for each source: added, removed and restored files count as well as changed ones. */
function describeSources(folder) {
  const lines = [];
  const entries = readdirSync(folder, { withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && !skippedFolders.has(entry.name)) lines.push(describeSources(path));
    else if (/(\.ts|^tsconfig\.json|^package-lock\.json)$/.test(entry.name)) {
      const { mtimeMs, size } = statSync(path);
      lines.push(`${relative(root, path)} ${size} ${mtimeMs}\n`);
    }
  }
  return lines.join('');
}

function run(title, command, args) {
  console.error(`${title} …`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    console.error(`${title} failed${error ? `: ${error.message}` : ''}. The lines above say why.`);
    process.exit(1);
  }
}
