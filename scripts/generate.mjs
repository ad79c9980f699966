// Writes what is made from other files: schemas/types.ts, docs/settings.md, and the reasons in
// docs/bad-input.md. Only the generators are compiled: the code of a pipeline may need the types that are
// still to be written.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

run('scripts/setup.mjs', '--install');
run('node_modules/typescript/bin/tsc', '--project', 'scripts/generate.tsconfig.json');

const { generateTypes } = await import('../dist/schemas/generate-types.js');
const { describeSettings, settingsPage } = await import('../dist/platform/settings.js');
const { reasonsPage, withReasons } = await import('../dist/processors/dead-letters/document-reasons.js');

const [types, settings] = [join(root, 'schemas', 'types.ts'), join(root, 'docs', 'settings.md')];
try {
  writeFileSync(types, generateTypes());
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
writeFileSync(settings, `${settingsPage(describeSettings())}\n`);
writeFileSync(reasonsPage, withReasons(readFileSync(reasonsPage, 'utf8')));
run('node_modules/prettier/bin/prettier.cjs', '--log-level', 'warn', '--write', types, settings, reasonsPage);

/** Runs a script of Node; ends with its status if it fails. */
function run(script, ...options) {
  const { status } = spawnSync(process.execPath, [join(root, script), ...options], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
}
