// Copies the container image's files besides node_modules: the compiled production code, and the files that
// it reads. Tests, benchmarks and the embedded engines are left out.
//
//   node scripts/image-files.mjs <folder>     after `tsc`
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const target = process.argv[2];
if (target === undefined) {
  console.error('Say where to: node scripts/image-files.mjs <folder>');
  process.exit(1);
}
process.chdir(fileURLToPath(new URL('..', import.meta.url)));
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });

/** Of `dist`. */
const otherPrograms = new Set(['tests', 'benchmarks', 'examples', 'embedded']);
const sources = new Set(['.ts', '.py', '.txt', '.md']);

copy('dist', (path) => {
  const [, folder] = path.split(sep);
  return !otherPrograms.has(folder) && !isOfTests(path) && !/\.(map|d\.ts)$/.test(path);
});
copy('schemas', isData);
copy('models', isData);
copy(join('analytics', 'migrations'), () => true);
copy(join('scripts', 'probe.mjs'), () => true);
copy('LICENSE', () => true);
// A project's folders name its pipelines.
for (const { name } of foldersOf(join('processors', 'pipelines'))) {
  const folder = join(target, 'processors', 'pipelines', name);
  mkdirSync(folder, { recursive: true });
  const compiled = `../../../dist/processors/pipelines/${name}/pipeline.js`;
  writeFileSync(join(folder, 'pipeline.js'), `export { pipeline } from '${compiled}';\n`);
}

function foldersOf(folder) {
  return readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
}

function copy(path, filter) {
  cpSync(path, join(target, path), { recursive: true, filter });
}

function isData(path) {
  return !sources.has(extname(path)) && !isOfTests(path);
}

function isOfTests(path) {
  return path.split(sep).includes('testing') || basename(path).endsWith('.test.js');
}
