import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { Command } from 'commander';
import { MillraceError } from '../platform/errors.js';
import { JsonFile } from '../platform/json-file.js';
import { packageRoot } from '../platform/paths.js';
import { exampleReadme, exampleTest } from './init-texts.js';

/** The pipeline that a new project has as an example. Its files come with the package. */
const example = 'credit-default';

/** Copied from the package as they are. */
const exampleFiles = [
  `schemas/${example}`,
  `models/${example}`,
  `models/training/figures/${example}.json`,
  `processors/pipelines/${example}/pipeline.json`,
  `examples/${example}.json`,
];

/** Written unless they exist: a project has its own. */
const texts: Record<string, string> = {
  '.gitignore': 'node_modules/\ndist/\n.millrace/\n.env\n',
  '.npmrc': `# No dependency of Millrace needs an install step: native libraries come inside their packages, and
# onnxruntime-node's step would fetch CUDA libraries from outside the npm registry.
ignore-scripts=true
`,
  'README.md': exampleReadme(example),
};

const testFile = `tests/${example}.test.mjs`;

/** `millrace init`. */
export function initCommand(): Command {
  return new Command('init')
    .description('create a project with an example pipeline')
    .argument('[folder]', 'folder of the project', '.')
    .action(async (folder: string) => {
      const { written, kept, notes } = await createProject(resolve(folder));
      const place = relative(process.cwd(), resolve(folder)) || '.';
      console.log(`Created a project in ${place}:\n${written.map((file) => `  ${file}`).join('\n')}`);
      if (kept.length > 0) console.log(`Kept as they are: ${kept.join(', ')}.`);
      for (const note of notes) console.log(note);
      const enter = place === '.' ? '' : `cd ${place}\n  `;
      console.log(`\nNext:\n  ${enter}npm install\n  npx millrace up\nREADME.md says more.`);
    });
}

/** What `millrace init` did. Files are relative to the project. */
export interface CreatedProject {
  written: string[];
  kept: string[];
  notes: string[];
}

/**
 * Creates a project with an example: pipeline, contract, model, event and test. Completes a `package.json`.
 *
 * @throws MillraceError `PROJECT_EXISTS` if a file of the example exists, `PROJECT_INVALID` if `package.json`
 *   is not JSON. Nothing is written then.
 */
export async function createProject(folder: string): Promise<CreatedProject> {
  const existing = [...exampleFiles, testFile].filter((file) => existsSync(join(folder, file)));
  if (existing.length > 0) {
    throw new MillraceError(
      'PROJECT_EXISTS',
      `${folder} has ${existing.join(', ')} already, and \`millrace init\` overwrites nothing. ` +
        'Choose another folder, or create a pipeline in this project with `millrace new`.',
    );
  }
  const { content, notes } = await packageFile(folder);
  for (const file of exampleFiles) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await cp(join(packageRoot, file), join(folder, file), { recursive: true });
  }
  await mkdir(dirname(join(folder, testFile)), { recursive: true });
  await writeFile(join(folder, testFile), exampleTest(example));
  await writeFile(join(folder, 'package.json'), content);
  const kept = Object.keys(texts).filter((file) => existsSync(join(folder, file)));
  const added = Object.keys(texts).filter((file) => !kept.includes(file));
  for (const file of added) await writeFile(join(folder, file), texts[file] ?? '');
  return { written: ['package.json', ...exampleFiles, testFile, ...added], kept, notes };
}

interface PackageFile {
  type?: string;
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

/** The test script of `npm init`, which always fails. */
const noTest = /no test specified/;

/** Returns a package.json with what a project needs; what is there stays. */
async function packageFile(folder: string): Promise<{ content: string; notes: string[] }> {
  const file = join(folder, 'package.json');
  const there: PackageFile = existsSync(file)
    ? (new JsonFile(await readFile(file, 'utf8'), file, 'PROJECT_INVALID').value as PackageFile)
    : ({ name: nameOf(folder), private: true } as PackageFile);
  const { scripts = {}, dependencies = {}, devDependencies = {} } = there;
  const { test, ...otherScripts } = scripts;
  const isInstalled = 'millrace' in dependencies || 'millrace' in devDependencies;
  const completed = {
    type: 'module',
    ...there,
    scripts: {
      start: 'millrace up',
      test: test === undefined || noTest.test(test) ? 'node --test' : test,
      ...otherScripts,
    },
    dependencies: isInstalled
      ? dependencies
      : { millrace: `file:${relative(folder, packageRoot)}`, ...dependencies },
  };
  const notes =
    completed.type === 'module'
      ? []
      : [`package.json has "type": "${completed.type}". Code of pipelines needs "type": "module".`];
  return { content: `${JSON.stringify(completed, undefined, 2)}\n`, notes };
}

/** Returns a package name made of the folder's name. */
function nameOf(folder: string): string {
  const name = basename(folder)
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '');
  return name === '' ? 'millrace-project' : name;
}
