import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { detectFormat } from './detect-format.js';
import { inBatches } from './batches.js';
import type { InputFile, InputRow } from './file-format.js';
import { examine } from './examine.js';
import { workbook } from './testing/zip.js';
import { XlsxPackage } from './xlsx-package.js';
import { xlsx } from './xlsx.js';

let folder: string;
let files = 0;
const opened: InputFile[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-formats-'));
});
afterEach(() => {
  for (const file of opened.splice(0)) file.close();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function save(content: string | Uint8Array): Promise<string> {
  const path = join(folder, String(files++));
  await writeFile(path, content);
  return path;
}

/** Rows that a file is read as. */
async function read(content: string | Uint8Array, name = 'file') {
  const path = await save(content);
  const format = await detectFormat(path, name);
  const file = await format.open(path);
  opened.push(file);
  const rows: InputRow[] = [];
  for await (const batch of file.rows()) rows.push(...batch);
  return { path, format, file, rows, values: rows.map((row) => ({ ...row.values })) };
}

/** Result of a file, each row with its number as prediction. */
async function write(content: string | Uint8Array, name = 'file'): Promise<string> {
  const { format, file, rows } = await read(content, name);
  const path = join(folder, String(files++));
  const numbered = async function* () {
    yield await Promise.resolve(
      rows.map((row, index) => [row, { prediction: index + 1, error: row.problem ?? null }] as const),
    );
  };
  await format.write(path, file, ['prediction', 'error'], numbered());
  return path;
}

const fails = (content: string | Uint8Array, name?: string) =>
  expect(read(content, name)).rejects.toMatchObject({ code: 'FILE_INVALID' });

describe('csv', () => {
  it.each([
    ['commas', 'a,b\n1,"x, ""y"""\n', ','],
    [
      'semicolons, Windows line ends and a byte order mark',
      '\ufeffa;b\r\n1;x, "y"'.replace('x, "y"', '"x, ""y"""'),
      ';',
    ],
    ['tabs', 'a\tb\n1\t"x, ""y"""', '\t'],
  ])('with %s', async (_, text) => {
    expect((await read(text)).values).toEqual([{ a: '1', b: 'x, "y"' }]);
  });

  it.each([
    ['Windows’ behind the header alone', 'a,b\r\n1,x\n2,y\n'],
    ['Unix’ behind the header alone', 'a,b\n1,x\r\n2,y\r\n'],
    ['one of another kind in the middle', 'a,b\r\n1,x\r\n2,y\n'],
    ['old ones of Macintosh', 'a,b\r1,x\r2,y\r'],
    ['each another', '\ra,b\r\n\r\n1,x\r2,y\n\n'],
  ])('with line ends: %s', async (_, text) => {
    const { rows, values } = await read(text);
    expect(values).toEqual([
      { a: '1', b: 'x' },
      { a: '2', b: 'y' },
    ]);
    expect(rows.map(({ problem }) => problem)).toEqual([undefined, undefined]);
  });

  it('with quotes inside of cells, which are characters, and line ends inside of quotes', async () => {
    expect((await read('a,b,c\n1,18" wheels,"x\r\ny"\n2,"a ""b""",\n3,"",d"\n')).values).toEqual([
      { a: '1', b: '18" wheels', c: 'x\r\ny' },
      { a: '2', b: 'a "b"', c: null },
      { a: '3', b: '', c: 'd"' },
    ]);
    const wide = `a,b\n18" wheels${','.repeat(2_000_000)}`;
    await expect(read(wide)).rejects.toMatchObject({
      message: expect.stringContaining('16384 cells') as string,
    });
  });

  it('in UTF-16, as Excel exports “Unicode text”', async () => {
    const bytes = Buffer.from('\ufeffname\tage\nZoë\t5\n', 'utf16le');
    expect((await read(bytes)).values).toEqual([{ name: 'Zoë', age: '5' }]);
  });

  it('leaves empty lines out, and names rows that are wider than the header', async () => {
    const { rows } = await read('a,b\n\n1,2\n,\n1,2,3\n4\n');
    expect(rows.map(({ values, problem }) => problem?.slice(0, 24) ?? { ...values })).toEqual([
      { a: '1', b: '2' },
      'has a value in column 3,',
      { a: '4', b: null },
    ]);
  });

  it('refuses rows of separators that would fill the memory, not those that end in some', async () => {
    const { values } = await read(`a,b\n1,2${','.repeat(5_000)}\n`);
    expect(values).toEqual([{ a: '1', b: '2' }]);
    await expect(read(`a,b\n1,2${','.repeat(5_000)}3\n`)).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringContaining('column 5002') as string,
    });
    await expect(read(`a,b\n${','.repeat(2_000_000)}`)).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringContaining('16384 cells') as string,
    });
    const [{ a }] = (await read(`a,b\n"${','.repeat(20_000)}",2\n`)).values as [{ a: string }];
    expect(a).toHaveLength(20_000);
  });

  it('is written with its own separator, cells unchanged, and clashing columns renamed', async () => {
    const path = await write('a;prediction\n=1+1;"x;y"\n007;\n');
    expect(await readFile(path, 'utf8')).toBe(
      'a;prediction;millrace_prediction;error\n=1+1;"x;y";1;\n007;;2;\n',
    );
  });

  it.each([
    ['an unclosed quote', 'a,b\n1,2\n"3,4\n5,6\n'],
    ['a cell without end', `a,b\n1,"${'x'.repeat(1_100_000)}`],
    ['Latin-1', Buffer.from('name\nZo\xeb\n', 'latin1')],
    ['UTF-8 that is cut off', Buffer.from('name\nZoë', 'utf8').subarray(0, -1)],
    ['nothing', ''],
    ['white space', ' \n\n'],
    ['binary', Buffer.from('a,b\n1,\0\n')],
    ['a picture', Buffer.from('89504e470d0a1a0a0000000d', 'hex')],
    ['more columns than anybody has', `${'a,'.repeat(2_000)}b\n1\n`],
  ])('is refused with %s', (_, content) => fails(content));

  it('reports the position of a NUL character', async () => {
    await expect(read(`a,b\n${'1,ä\n'.repeat(30)}1,\0\n`)).rejects.toMatchObject({
      message: expect.stringContaining('near its byte 156') as string,
    });
  });
});

describe('jsonl', () => {
  it('keeps each line unchanged', async () => {
    const path = await write('{"a": 1.50, "b":12345678901234567890}\r\n\n{}\n{"prediction":0}', 'x.jsonl');
    expect(await readFile(path, 'utf8')).toBe(
      '{"a": 1.50, "b":12345678901234567890,"prediction":1,"error":null}\n' +
        '{"prediction":2,"error":null}\n{"prediction":0,"millrace_prediction":3,"error":null}\n',
    );
  });

  it('keeps invalid lines, with the reason', async () => {
    const path = await write('{"a":1}\n{"a":\n[1]\n');
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { a: 1, prediction: 1, error: null },
      { line: '{"a":', prediction: 2, error: expect.stringContaining('is no JSON') as string },
      { line: '[1]', prediction: 3, error: 'is no JSON object' },
    ]);
  });

  it('reads characters split between two chunks of a file', async () => {
    const lines = Array.from({ length: 20_000 }, (_, index) => JSON.stringify({ index, text: 'Zoë😀' }));
    const { values } = await read(lines.join('\n'));
    expect(values).toEqual(lines.map((line) => JSON.parse(line) as unknown));
  });

  it.each([
    ['a JSON array', '[{"a":1}]', 'x.json'],
    ['another text under its name', 'a,b\n1,2', 'x.jsonl'],
    ['a line without end', `{"a":1}\n{"a":"${'x'.repeat(1_100_000)}`, 'x'],
  ])('is refused with %s', (_, content, name) => fails(content, name));
});

describe('xlsx', () => {
  const cell = (value: string, type = 'n', more = ''): string => `<c t="${type}"${more}><v>${value}</v></c>`;
  const header = (...names: string[]): string =>
    `<row r="1">${names.map((name) => `<c t="inlineStr"><is><t>${name}</t></is></c>`).join('')}</row>`;

  it('reads numbers, texts, booleans, dates, formulas’ results, and omitted cells', async () => {
    const styles =
      '<numFmts><numFmt numFmtId="164" formatCode="&quot;day &quot;0.00"/><numFmt numFmtId="165" formatCode="[$-409]d/m/yy\\ h:mm"/></numFmts>' +
      '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>' +
      '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs>';
    const rows =
      `${header('number', 'text', 'rich', 'bool', 'date', 'money', 'time', 'formula')}<row r="2"/><row r="9">` +
      `${cell('1.5e3')}${cell('0', 's')}${cell('1', 's')}${cell('1', 'b')}${cell('46053', 'n', ' s="1"')}` +
      `${cell('46053', 'n', ' s="2"')}${cell('46053.5', 'n', ' s="3"')}<c t="str"><f>A1&amp;B1</f><v>x_x0007_</v></c></row>` +
      `<row r="10"><c r="A10"/><c r="C10" t="s"><v>0</v></c></row>`;
    const strings =
      '<si><t xml:space="preserve"> a &lt;&amp; </t></si><si><r><t>ri</t></r><r><t>ch</t></r><rPh><t>no</t></rPh></si>';
    expect((await read(workbook({ rows, strings, styles }))).values).toEqual([
      {
        number: 1500,
        text: ' a <& ',
        rich: 'rich',
        bool: true,
        date: new Date('2026-01-31'),
        money: 46053,
        time: new Date('2026-01-31T12:00:00Z'),
        formula: 'x\x07',
      },
      {
        number: null,
        text: null,
        rich: ' a <& ',
        bool: null,
        date: null,
        money: null,
        time: null,
        formula: null,
      },
    ]);
  });

  it('counts dates from 1904 if the workbook does', async () => {
    const styles = '<cellXfs><xf numFmtId="14"/></cellXfs>';
    const workbookProperties = '<workbookPr date1904="1"/>';
    const rows = `${header('date')}<row>${cell('0', 'n', ' s="0"')}</row>`;
    const { values } = await read(workbook({ rows, styles, workbookProperties }));
    expect(values).toEqual([{ date: new Date('1904-01-01') }]);
  });

  it.each([
    ['http://schemas.openxmlformats.org/officeDocument/2006/relationships', 'relationships'],
    ['http://purl.oclc.org/ooxml/officeDocument/relationships', 'a'],
  ])('finds the sheet by any prefix of the namespace %s', async (namespace, prefix) => {
    const rows = `${header('a')}<row>${cell('7')}</row>`;
    const { values } = await read(workbook({ rows, relations: { namespace, prefix } }));
    expect(values).toEqual([{ a: 7 }]);
  });

  it('reports why a cell can’t be used', async () => {
    const rows = `${header('a', 'b', 'c')}<row>${cell('#N/A', 'e')}<c><f>1+1</f></c>${cell('7', 's')}</row>`;
    const { values } = await read(workbook({ rows }));
    expect(values).toMatchObject([
      {
        a: { text: '#N/A', problem: 'holds the error #N/A' },
        b: { problem: expect.stringContaining('formula') as string },
        c: { problem: expect.stringContaining('refers to a text') as string },
      },
    ]);
  });

  it('is written unchanged, with the columns added: text that looks like a formula stays text', async () => {
    const rows = `${header('a', 'prediction')}<row><c t="str"><v>=1+1</v></c>${cell('2')}</row><row>${cell('_x005F_x0041_', 'str')}</row>`;
    const path = await write(workbook({ rows }));
    expect((await read(await readFile(path))).values).toEqual([
      { a: '=1+1', prediction: 2, millrace_prediction: 1, error: null },
      { a: '_x0041_', prediction: null, millrace_prediction: 2, error: null },
    ]);
    expect((await readFile(path)).includes('<f>')).toBe(false);
  });

  const sheetOf = (text: string): string => `<worksheet><sheetData>${text}`;
  const bombBytes = 6_000_000;
  it.each<[string, Uint8Array, RegExp]>([
    ['macros', workbook({ contentType: 'application/vnd.ms-excel.sheet.macroEnabled.main+xml' }), /macros/],
    ['a macro project', workbook({ more: [{ name: 'xl/vbaProject.bin', content: 'x' }] }), /macros/],
    [
      'the binary variant',
      workbook({ contentType: 'application/vnd.ms-excel.sheet.binary.macroEnabled.main' }),
      /macros/,
    ],
    ['an old file or a password', Buffer.from('d0cf11e0a1b11ae1000000000000', 'hex'), /password/],
    ['another zip file', workbook({}).subarray(0, 200), /damaged/],
    [
      'a size that is a lie',
      workbook({ sheet: { content: sheetOf('<row/>'.repeat(1e4)), claimedBytes: 500 } }),
      /damaged/,
    ],
    ['a size that is absurd', workbook({ sheet: { content: 'x', claimedBytes: 4e9 } }), /Unpacked/],
    [
      'one endless text',
      workbook({ sheet: { content: sheetOf(`<row><c t="inlineStr"><is><t>${'a'.repeat(bombBytes)}`) } }),
      /more than 1000000 characters/,
    ],
    [
      'one endless tag',
      workbook({ sheet: { content: sheetOf(`<row r="${'1'.repeat(bombBytes)}`) } }),
      /more than 1000000 characters/,
    ],
    ['endless depth', workbook({ sheet: { content: sheetOf('<a>'.repeat(bombBytes / 3)) } }), /deep/],
    [
      'a cell no program writes',
      workbook({ rows: `<row>${cell('x'.repeat(100_000), 'str')}</row>` }),
      /32767/,
    ],
    [
      'more rows than a sheet has',
      workbook({ rows: `${header('a')}${'<row/>'.repeat(1_100_000)}` }),
      /1048576 rows/,
    ],
    ['cells far to the right', workbook({ rows: '<row><c r="XFD1"><v>1</v></c></row>' }), /column 1000/],
    ['broken XML', workbook({ rows: '<row><c></row>' }), /damaged/],
    [
      'entities',
      workbook({ sheet: { content: '<!DOCTYPE a [<!ENTITY b "c">]><worksheet>&b;</worksheet>' } }),
      /document type/,
    ],
    [
      'a part that is there twice',
      workbook({ more: [{ name: 'XL/workbook.xml', content: '' }] }),
      /two parts/,
    ],
    ['no rows', workbook({}), /empty/],
  ])('is refused with %s', async (_, content, message) => {
    await expect(read(content)).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  it('is refused with more text than fits into memory, before it fills it', async () => {
    const strings = '<si><t/></si>'.repeat(6_000_000);
    const bomb = workbook({ rows: header('a'), strings });
    const before = process.memoryUsage().rss;
    await expect(read(bomb)).rejects.toMatchObject({
      message: expect.stringContaining('more text than fits') as string,
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(400 * 1024 ** 2);
  });
});

describe('reading', () => {
  it('opens a workbook once, however often its rows are read', async () => {
    const opens = vi.spyOn(XlsxPackage, 'open');
    onTestFinished(() => opens.mockRestore());
    const strings = '<si><t>a</t></si><si><t>x</t></si>';
    const row = (index: number): string => `<row><c t="s"><v>${index}</v></c></row>`;
    const file = await xlsx.open(await save(workbook({ rows: row(0) + row(1), strings })));
    opened.push(file);
    expect(await examine(file, 10)).toEqual({ rows: 1, decimals: new Set() });
    for (let pass = 0; pass < 2; pass++)
      for await (const rows of file.rows()) expect(rows).toMatchObject([{ original: ['x'] }]);
    expect(opens).toHaveBeenCalledTimes(1);
  });

  it('keeps the texts of a workbook in memory, without the content between them', async () => {
    const bytes = 100 * 1024 ** 2;
    const row = '<row><c t="str"><v>a</v></c></row>';
    const one = `<si><t>${'x'.repeat(40)}</t></si>${' '.repeat(15_000)}`;
    const strings = one.repeat(Math.floor(bytes / one.length));
    const path = await save(workbook({ rows: row + row, strings }));
    const before = process.memoryUsage().heapUsed;
    const file = await xlsx.open(path);
    opened.push(file);
    const batches = file.rows()[Symbol.asyncIterator]();
    await batches.next();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(bytes / 2);
    await batches.return?.();
  });

  it('makes smaller batches of larger rows', async () => {
    const rows = Array.from({ length: 10 }, () => `{"a":"${'x'.repeat(900_000)}"}\n`).join('');
    const { file } = await read(rows, 'a.jsonl');
    const sizes: number[] = [];
    for await (const batch of inBatches(file.rows(), { maxRows: 1_000 })) sizes.push(batch.length);
    expect(sizes).toEqual([3, 3, 3, 1]);
  });

  it('unpacks no more of a large sheet than is used, and yields to other work', async () => {
    const row = `<row>${'<c><v>12345</v></c>'.repeat(20)}</row>`;
    const content = `<worksheet><sheetData><row><c t="str"><v>a</v></c>${'<c t="str"><v>b</v></c>'.repeat(19)}</row>${row.repeat(20_000)}</sheetData></worksheet>`;
    const file = await xlsx.open(await save(workbook({ sheet: { content } })));
    opened.push(file);
    let largest = 0;
    let rows = 0;
    for await (const batch of file.rows()) {
      largest = Math.max(largest, batch.length);
      rows += batch.length;
      if (rows > 5_000) break;
    }
    expect(rows).toBeLessThan(6_000);
    expect(largest).toBeLessThan(1_000);
  });
});
