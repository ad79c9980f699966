import { expect, test } from 'vitest';
import type { InputFile, InputRow } from './file-format.js';
import { remember } from './remember.js';

/** A file of some rows of one cell, and how often it was read. */
function fileOf(cells: readonly string[]) {
  const reads = { count: 0 };
  const file: InputFile = {
    columns: ['a'],
    async *rows() {
      reads.count++;
      for (const cell of cells) yield await Promise.resolve([{ values: { a: cell }, original: [cell] }]);
    },
    close: () => undefined,
  };
  return { file: remember(file), reads };
}

async function cellsOf(file: InputFile): Promise<unknown[]> {
  const rows: InputRow[] = [];
  for await (const batch of file.rows()) rows.push(...batch);
  return rows.map(({ original }) => original[0]);
}

test('a small file is read once', async () => {
  const { file, reads } = fileOf(['x', 'y']);
  for (let pass = 0; pass < 3; pass++) expect(await cellsOf(file)).toEqual(['x', 'y']);
  expect(reads.count).toBe(1);
});

test('a large file is read at each pass', async () => {
  const cells = Array.from({ length: 5 }, (_, index) => String(index).repeat(500_000));
  const { file, reads } = fileOf(cells);
  for (let pass = 0; pass < 2; pass++) expect(await cellsOf(file)).toEqual(cells);
  expect(reads.count).toBe(2);
});

test('a pass that ends early is no whole one', async () => {
  const { file, reads } = fileOf(['x', 'y']);
  for await (const _ of file.rows()) break;
  expect(await cellsOf(file)).toEqual(['x', 'y']);
  expect(reads.count).toBe(2);
});
