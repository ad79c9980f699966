import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { detectFormat } from './detect-format.js';
import type { InputRow } from './file-format.js';
import { workbook } from './testing/zip.js';

const outputs = { species: { setosa: 0.75, 'other, "x"': 0.25 }, embedding: [1, -2.5] };
const large = { embedding: Array.from({ length: 10_000 }, () => 0.125) };

let folder: string;
let files = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-added-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Returns the rows of a file with an object added to the first. */
async function withObject(content: string | Uint8Array, name: string, added: object) {
  const path = join(folder, String(files++));
  await writeFile(path, content);
  const format = await detectFormat(path, name);
  const input = await format.open(path);
  const result = join(folder, String(files++));
  const rows = async function* () {
    let number = 0;
    for await (const batch of input.rows())
      yield batch.map((row) => [row, { outputs: number++ === 0 ? { ...added } : null }] as const);
  };
  await format.write(result, input, ['outputs'], rows());
  input.close();
  const written = await format.open(result);
  const read: InputRow[] = [];
  for await (const batch of written.rows()) read.push(...batch);
  written.close();
  const column = written.columns?.at(-1) ?? 'outputs';
  return { column, cells: read.map(({ values }) => values[column]), text: await readFile(result, 'utf8') };
}

const row = (...texts: string[]): string =>
  `<row>${texts.map((text) => `<c t="inlineStr"><is><t>${text}</t></is></c>`).join('')}</row>`;

it.each([
  ['csv', 'a;outputs\n1;mine\n2;\n', 'millrace_outputs'],
  ['xlsx', workbook({ rows: row('a') + row('1') + row('2') }), 'outputs'],
])('is JSON text in a cell of a %s file', async (name, content, expected) => {
  const { column, cells } = await withObject(content, `a.${name}`, outputs);
  expect(column).toBe(expected);
  expect(cells).toEqual([JSON.stringify(outputs), null]);
});

it('is an object in a line of JSON', async () => {
  const { text } = await withObject('{"a":1.0}\n{"a":2}\n', 'a.jsonl', outputs);
  expect(text).toBe(`{"a":1.0,"outputs":${JSON.stringify(outputs)}}\n{"a":2,"outputs":null}\n`);
});

it('is named in a cell of a workbook that is too small for it', async () => {
  const sheet = workbook({ rows: row('a') + row('1') });
  expect((await withObject(sheet, 'a.xlsx', large)).cells).toEqual([
    `too long for a cell: ${JSON.stringify(large).length} characters. Look the prediction up by its event_id.`,
  ]);
  expect((await withObject('a\n1\n', 'a.csv', large)).cells).toEqual([JSON.stringify(large)]);
});
