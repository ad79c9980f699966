import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { apis } from './apis/index.js';
import { servedApisTable } from './served-apis.js';

test('the table in embedded/README.md matches the code', () => {
  const readme = readFileSync(join(packageRoot, 'embedded', 'README.md'), 'utf8');
  // When this fails, put the output of `servedApisTable(apis)` into the README.
  expect(cells(readme)).toEqual(cells(servedApisTable(apis)));
});

function cells(text: string): string[] {
  const rows = text.split('\n').filter((line) => /^\| *\d+ /.test(line));
  return rows.map((line) => line.replaceAll(/ +/g, ' '));
}
