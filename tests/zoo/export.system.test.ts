import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { python } from './train-zoo.js';

it('exports a version as a whole, or refuses the model and says why', () => {
  const program = join(packageRoot, 'tests', 'zoo', 'export_edges.py');
  const { status, stderr } = spawnSync(python, [program], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
});
