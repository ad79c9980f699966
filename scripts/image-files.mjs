// Copies the container image's files besides node_modules. Tests, benchmarks and the embedded engines are
// left out.
//
//   node scripts/image-files.mjs <folder>     after `tsc`
//
// <folder>/app is Millrace: the compiled production code, and the files that it reads. <folder>/project is
// the project that the image runs unless another is mounted: the pipelines of this checkout.
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const target = process.argv[2];
if (target === undefined) {
  console.error('Say where to: node scripts/image-files.mjs <folder>');
  process.exit(1);
}
process.chdir(fileURLToPath(new URL('..', import.meta.url)));
rmSync(target, { recursive: true, force: true });
const app = join(target, 'app');
const project = join(target, 'project');

/** Of `dist`. */
const otherPrograms = new Set(['tests', 'benchmarks', 'examples', 'embedded']);
const pipelines = join('processors', 'pipelines');
const names = foldersIn(pipelines);
const compiledPipelines = new Set(names.map((name) => join('dist', pipelines, name)));

copy('dist', app, (path) => {
  const [, folder] = path.split(sep);
  return !otherPrograms.has(folder) && !compiledPipelines.has(path) && isProgram(path);
});
copy(join('schemas', 'shared'), app);
copy(join('analytics', 'migrations'), app);
copy(join('scripts', 'probe.mjs'), app);
copy('LICENSE', app);

for (const name of names) {
  copy(join(pipelines, name), project, (path) => extname(path) !== '.ts');
  const compiled = join('dist', pipelines, name);
  if (existsSync(compiled)) copyTo(compiled, join(project, pipelines, name), isProgram);
}
for (const name of foldersIn('schemas')) if (name !== 'shared') copy(join('schemas', name), project);
for (const name of foldersIn('models')) {
  const isModel = foldersIn(join('models', name)).some((version) =>
    existsSync(join('models', name, version, 'model.json')),
  );
  if (isModel && name !== 'testing') copy(join('models', name), project);
}
copy(join('models', 'training', 'figures'), project);
const { type, imports } = JSON.parse(readFileSync('package.json', 'utf8'));
writeFileSync(join(project, 'package.json'), `${JSON.stringify({ type, imports }, undefined, 2)}\n`);

function copy(path, folder, filter) {
  copyTo(path, join(folder, path), filter);
}

function copyTo(from, to, filter) {
  cpSync(from, to, { recursive: true, filter });
}

function isProgram(path) {
  return !isOfTests(path) && !/\.(map|d\.ts)$/.test(path);
}

function foldersIn(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}

function isOfTests(path) {
  return path.split(sep).includes('testing') || basename(path).endsWith('.test.js');
}
