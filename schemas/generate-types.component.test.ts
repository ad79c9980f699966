import { spawnSync } from 'node:child_process';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../platform/paths.js';

it('`npm run generate` compiles neither pipelines nor the types that it writes', () => {
  const compiler = join(packageRoot, 'node_modules', 'typescript', 'bin', 'tsc');
  const project = join(packageRoot, 'scripts', 'generate.tsconfig.json');
  const { stdout, status } = spawnSync(
    process.execPath,
    [compiler, '--project', project, '--listFilesOnly'],
    { encoding: 'utf8' },
  );
  expect(status).toBe(0);
  const files = stdout.split('\n').map((file) => relative(packageRoot, file));
  expect(files).toContain(join('schemas', 'generate-types.ts'));
  expect(files).not.toContain(join('schemas', 'types.ts'));
  expect(files.filter((file) => file.startsWith(join('processors', 'pipelines')))).toEqual([]);
});
