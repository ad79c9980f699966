import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fileFormats } from '../formats/detect-format.js';
import type { FileFormat, ParsedRow } from '../formats/file-format.js';
import { workbook } from '../formats/testing/zip.js';
import { FileParser } from './file-parser.js';

let folder: string;
let files = 0;
let parser: FileParser;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-parser-'));
  parser = new FileParser();
});
afterAll(async () => {
  await parser.close();
  await rm(folder, { recursive: true, force: true });
});

async function save(content: string | Uint8Array): Promise<string> {
  const path = join(folder, String(files++));
  await writeFile(path, content);
  return path;
}

const withoutOriginal = ({ values, problem }: ParsedRow): ParsedRow =>
  problem === undefined ? { values: { ...values } } : { values: { ...values }, problem };

const cell = (value: string, type = 'n', more = ''): string => `<c t="${type}"${more}><v>${value}</v></c>`;
const header = (...names: string[]): string =>
  `<row>${names.map((name) => `<c t="inlineStr"><is><t>${name}</t></is></c>`).join('')}</row>`;

const contents: Record<FileFormat['name'], string | Uint8Array> = {
  csv: 'a;b;__proto__;a\n1;;x;2\n"1;5";90.000;;\n1;2;3;4;5\n',
  jsonl: '{"a":1,"__proto__":{"x":[1]}}\n{\n{"a":{"text":"t","problem":"p"}}\n',
  xlsx: workbook({
    rows: `${header('a', 'b', 'c')}<row>${cell('46053.5', 'n', ' s="1"')}${cell('#N/A', 'e')}${cell('1', 'b')}</row><row>${cell('7')}</row>`,
    styles: '<cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>',
  }),
};

test('a line of JSON that is nested too deep for the copy between threads is a row with a problem', async () => {
  const nested = (depth: number): string => `{"x":${'['.repeat(depth)}${']'.repeat(depth)}}`;
  const text = `{"x":"${'['.repeat(200)}\\"${'{'.repeat(200)}"}`;
  const path = await save(`${nested(100_000)}\n${nested(99)}\n${text}\n`);
  await parser.read(path, { name: 'deep.jsonl' }, async (parsed) => {
    const problems: (string | undefined)[] = [];
    for await (const rows of parsed.rows({ skip: 0, maxRows: 10 }))
      problems.push(...rows.map(({ problem }) => problem));
    expect(problems).toEqual(['is nested deeper than 100 levels', undefined, undefined]);
  });
});

describe.each(Object.values(fileFormats))('a file of the format $name', (format) => {
  const added = ['prediction', 'error'];
  const valuesOf = (rows: readonly ParsedRow[]) =>
    rows.map(({ problem }, index) => ({ prediction: index, error: problem ?? null }));

  test('is read in a thread as without one', async () => {
    const path = await save(contents[format.name]);
    const file = await format.open(path);
    const expected: ParsedRow[] = [];
    for await (const rows of file.rows()) expected.push(...rows.map(withoutOriginal));
    file.close();
    await parser.read(path, { name: '' }, async (parsed) => {
      expect(parsed.format).toBe(format);
      expect(parsed.columns).toEqual(file.columns);
      expect((await parsed.examine()).rows).toBe(expected.length);
      for (const skip of [0, 1]) {
        const rows: ParsedRow[] = [];
        for await (const batch of parsed.rows({ skip, maxRows: 2 })) {
          expect(batch.length).toBeLessThanOrEqual(2);
          rows.push(...batch.map(withoutOriginal));
        }
        expect(rows).toEqual(expected.slice(skip));
      }
    });
  });

  test('is written in a thread as without one', async () => {
    const path = await save(contents[format.name]);
    const [there, here] = [join(folder, String(files++)), join(folder, String(files++))];
    const file = await format.open(path);
    const batches = async function* () {
      for await (const rows of file.rows()) {
        const values = valuesOf(rows);
        yield rows.map((row, index) => [row, values[index] ?? {}] as const);
      }
    };
    await format.write(here, file, added, batches());
    file.close();
    await parser.read(path, { format: format.name }, async (parsed) => {
      await parsed.write(there, { added, maxRows: 10 }, (rows) => Promise.resolve(valuesOf(rows)));
    });
    const read = async (written: string): Promise<unknown[]> =>
      parser.read(written, { format: format.name }, async (parsed) => {
        const rows: unknown[] = [];
        for await (const batch of parsed.rows({ maxRows: 10 })) rows.push(...batch);
        return [parsed.columns, rows];
      });
    expect(await read(there)).toEqual(await read(here));
    if (format.name !== 'xlsx') expect(await readFile(there)).toEqual(await readFile(here));
  });
});

test('errors keep the properties that identify them', async () => {
  const damaged = await save('a,b\n1,2\n"3,4\n');
  const rowsOf = (path: string) =>
    parser.read(path, { format: 'csv' }, async (file) => {
      for await (const rows of file.rows({ maxRows: 1 })) expect(rows).toHaveLength(1);
    });
  await expect(rowsOf(damaged)).rejects.toMatchObject({
    code: 'FILE_INVALID',
    message: expect.stringContaining('a quote is opened and never closed') as string,
  });
  await expect(rowsOf(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT', syscall: 'open' });
  await expect(parser.read(await save(''), { name: 'a.csv' }, () => 1)).rejects.toMatchObject({
    code: 'FILE_INVALID',
  });
  const path = await save('a\n1\n');
  const nowhere = join(folder, 'none', 'result');
  const writing = parser.read(path, { format: 'csv' }, (file) =>
    file.write(nowhere, { added: [], maxRows: 1 }, () => Promise.resolve([])),
  );
  await expect(writing).rejects.toMatchObject({ code: 'ENOENT' });
  const failing = parser.read(path, { format: 'csv' }, () => Promise.reject(new Error('not scored')));
  await expect(failing).rejects.toThrow('not scored');
});

test('a file that takes too much memory fails, and other files are read', async () => {
  const small = new FileParser({ maxHeapMb: 16 });
  const strings = '<si><t>different texts of some length</t></si>'.repeat(500_000);
  const large = await save(workbook({ rows: header('a'), strings }));
  const path = await save('a\n1\n');
  try {
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const other = small.read(path, { format: 'csv' }, async (file) => {
      await released;
      return file.examine();
    });
    await expect(small.read(large, { name: 'a.xlsx' }, () => 1)).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: 'The file takes more than 16 MB of memory. Split it, or send csv.',
    });
    release();
    expect((await other).rows).toBe(1);
  } finally {
    await small.close();
  }
});

test('an aborted signal ends the reading of a file', async () => {
  const aborting = new AbortController();
  const path = await save(`a\n${'1\n'.repeat(1_000_000)}`);
  const reading = parser.read(path, { format: 'csv', signal: aborting.signal }, (file) => {
    const examined = file.examine();
    aborting.abort();
    return examined;
  });
  await expect(reading).rejects.toThrow('aborted');
  expect(await parser.read(await save('a\n1\n'), { format: 'csv' }, (file) => file.columns)).toEqual(['a']);
});

test('a partial pass leaves no file open', async () => {
  const path = await save(`a\n${'1\n'.repeat(200_000)}`);
  const openFiles = (): number => readdirSync('/dev/fd').length;
  const readOneBatch = (): Promise<void> =>
    parser.read(path, { format: 'csv' }, async (file) => {
      for await (const rows of file.rows({ maxRows: 10 })) if (rows.length > 0) break;
    });
  await readOneBatch();
  const before = openFiles();
  for (let pass = 0; pass < 5; pass++) await readOneBatch();
  // Before the thread ends, which is after ten seconds without a file.
  await expect.poll(openFiles, { timeout: 5_000 }).toBeLessThanOrEqual(before);
});

test('files wait when all threads are busy, and none is read once the parser is closed', async () => {
  const own = new FileParser();
  const path = await save('a\n1\n');
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  let open = 0;
  let most = 0;
  const reads = Array.from({ length: 10 }, () =>
    own.read(path, { format: 'csv' }, async () => {
      most = Math.max(most, ++open);
      await released;
      open--;
    }),
  );
  await expect.poll(() => open).toBe(4);
  release();
  await Promise.all(reads);
  expect(most).toBe(4);
  await own.close();
  await expect(own.read(path, { format: 'csv' }, () => 1)).rejects.toThrow('closed');
});
