import { posix } from 'node:path';
import { type Cell, fileInvalid, maxColumns, type UnusableCell } from './file-format.js';
import { XlsxPackage } from './xlsx-package.js';

/** Excel's own limits. */
const maxRows = 1_048_576;
export const maxCellLength = 32_767;
const maxSheetBytes = 2 * 1024 ** 3;
/**
 * Maximum memory of shared strings, bytes, approximate. They are needed in no order, so all are in memory.
 */
const maxStringBytes = 160 * 1024 ** 2;
const bytesPerString = 32;
/** V8 copies shorter texts. */
const minSliceLength = 13;
/** Maximum unpacked size of their part: the other two thirds are tags and formats. */
const maxStringsPartBytes = 512 * 1024 ** 2;
const dayMs = 24 * 3_600_000;

/** The first sheet of an open workbook. */
export interface Sheet {
  /**
   * Yields all rows from the first, in batches, cells by position; nothing of the sheet is unpacked in
   * advance.
   */
  rows(): AsyncGenerator<Cell[][]>;
  close(): void;
}

/**
 * Opens the first sheet of a workbook: its shared strings and formats are then in memory. The caller closes
 * it.
 *
 * @throws MillraceError `FILE_INVALID` with the reason, as `rows` does; errors of the file system.
 */
export async function openSheet(path: string): Promise<Sheet> {
  const parts = await XlsxPackage.open(path);
  try {
    const workbook = await readWorkbook(parts);
    const strings = workbook.strings === undefined ? [] : await readStrings(parts, workbook.strings);
    const dateStyles =
      workbook.styles === undefined ? new Set<number>() : await readDateStyles(parts, workbook.styles);
    return {
      rows: () => readRows(parts, workbook.sheet, new SheetRows(strings, dateStyles, workbook.date1904)),
      close: () => parts.close(),
    };
  } catch (error) {
    parts.close();
    throw error;
  }
}

async function* readRows(parts: XlsxPackage, part: string, rows: SheetRows): AsyncGenerator<Cell[][]> {
  for await (const _ of parts.parse(part, rows, maxSheetBytes)) {
    const batch = rows.take();
    if (batch.length > 0) yield batch;
  }
}

interface Workbook {
  sheet: string;
  strings: string | undefined;
  styles: string | undefined;
  date1904: boolean;
}

async function readWorkbook(parts: XlsxPackage): Promise<Workbook> {
  await refuseMacros(parts);
  const main = (await readRelations(parts, '')).find(({ type }) => type === 'officeDocument')?.target;
  if (main === undefined) throw fileInvalid('The file is a zip file, and no Excel workbook.');
  let firstSheet: string | undefined;
  let date1904 = false;
  const relationPrefixes = new Set<string>();
  await parts.parseAll(main, {
    open: (name, attributes) => {
      // Writers choose the prefix of the relationships' namespace; the namespace has the same end in both
      // variants of the format.
      for (const [attribute, namespace] of Object.entries(attributes)) {
        if (attribute.startsWith('xmlns:') && posix.basename(namespace) === 'relationships')
          relationPrefixes.add(attribute.slice('xmlns:'.length));
      }
      if (name === 'workbookPr') date1904 = ['1', 'true'].includes(attributes['date1904'] ?? '');
      if (name === 'sheet') {
        const [id = ''] = [...relationPrefixes].flatMap((prefix) => attributes[`${prefix}:id`] ?? []);
        firstSheet ??= id;
      }
    },
  });
  const relations = await readRelations(parts, main);
  const sheet = relations.find(({ id, type }) => id === firstSheet && type === 'worksheet')?.target;
  if (sheet === undefined) throw fileInvalid('The first sheet of the workbook is none with rows.');
  const target = (type: string): string | undefined => relations.find((each) => each.type === type)?.target;
  return { sheet, strings: target('sharedStrings'), styles: target('styles'), date1904 };
}

async function refuseMacros(parts: XlsxPackage): Promise<void> {
  let hasMacros = parts.partNames.some((name) => name.endsWith('vbaproject.bin'));
  let isBinary = false;
  await parts.parseAll('[Content_Types].xml', {
    open: (_name, { ContentType: type = '' }) => {
      hasMacros ||= /macroEnabled/i.test(type);
      isBinary ||= /sheet\.binary/i.test(type);
    },
  });
  if (hasMacros) throw fileInvalid('The workbook has macros (.xlsm). Save it as .xlsx without them.');
  if (isBinary) throw fileInvalid('The workbook is binary (.xlsb). Save it as .xlsx.');
}

/**
 * Reads the relationships of a part. Targets are names of parts; types are reduced to their last word, which
 * both variants of the format share.
 */
async function readRelations(
  parts: XlsxPackage,
  part: string,
): Promise<{ id: string; type: string; target: string }[]> {
  const relations: { id: string; type: string; target: string }[] = [];
  const name = posix.join(posix.dirname(part), '_rels', `${posix.basename(part)}.rels`);
  if (!parts.has(name)) throw fileInvalid('The file is a zip file, and no Excel workbook.');
  await parts.parseAll(name, {
    open: (tag, { Id: id = '', Type: type = '', Target: target = '', TargetMode: mode }) => {
      if (tag !== 'Relationship' || mode === 'External') return;
      const path = target.startsWith('/') ? target.slice(1) : posix.join(posix.dirname(part), target);
      relations.push({ id, type: posix.basename(type), target: path });
    },
  });
  return relations;
}

async function readStrings(parts: XlsxPackage, part: string): Promise<string[]> {
  const strings: string[] = [];
  let bytes = 0;
  let text: string | undefined;
  let isText = false;
  let phonetic = false;
  await parts.parseAll(
    part,
    {
      open: (name) => {
        if (name === 'si') text = '';
        if (name === 'rPh') phonetic = true;
        isText = name === 't' && !phonetic;
      },
      text: (piece) => {
        if (isText && text !== undefined) text = limited(text + piece);
      },
      close: (name) => {
        isText = false;
        if (name === 'rPh') phonetic = false;
        if (name !== 'si' || text === undefined) return;
        const { kept, bytes: size } = detached(unescape(text));
        bytes += size + bytesPerString;
        if (bytes > maxStringBytes) {
          throw fileInvalid('The workbook has more text than fits into memory. Split it, or send csv.');
        }
        strings.push(kept);
        text = undefined;
      },
    },
    maxStringsPartBytes,
  );
  return strings;
}

/**
 * Copies a text. The original may be a slice of a chunk of the file, and would keep the whole chunk in
 * memory.
 */
function detached(text: string): { kept: string; bytes: number } {
  if (text.length < minSliceLength) return { kept: text, bytes: 2 * text.length };
  const copy = Buffer.from(text);
  const isAscii = copy.length === text.length;
  return { kept: copy.toString(), bytes: isAscii ? text.length : 2 * text.length };
}

/** Returns the numbers of the cell formats that show a number as a date or time. */
async function readDateStyles(parts: XlsxPackage, part: string): Promise<Set<number>> {
  const custom = new Map<string, boolean>();
  const dates = new Set<number>();
  let inCells = false;
  let index = 0;
  await parts.parseAll(part, {
    open: (name, attributes) => {
      if (name === 'numFmt')
        custom.set(attributes['numFmtId'] ?? '', isDateFormat(attributes['formatCode'] ?? ''));
      if (name === 'cellXfs') inCells = true;
      if (name !== 'xf' || !inCells) return;
      const id = attributes['numFmtId'] ?? '';
      if (custom.get(id) ?? isBuiltInDate(Number(id))) dates.add(index);
      index++;
    },
    close: (name) => {
      if (name === 'cellXfs') inCells = false;
    },
  });
  return dates;
}

/** ECMA-376 part 1, 18.8.30: formats that every program knows by number. */
function isBuiltInDate(id: number): boolean {
  return (id >= 14 && id <= 22) || (id >= 27 && id <= 36) || (id >= 45 && id <= 47) || (id >= 50 && id <= 58);
}

function isDateFormat(code: string): boolean {
  return /[dmyhs]/i.test(code.slice(0, 1_000).replaceAll(/"[^"]*"|\[[^\]]*\]|\\.|_./g, ''));
}

/** Builds rows from the tags of a sheet. */
class SheetRows {
  readonly #strings: readonly string[];
  readonly #dateStyles: ReadonlySet<number>;
  readonly #date1904: boolean;
  #rows: Cell[][] = [];
  #count = 0;
  #row: Cell[] | undefined;
  #column = 0;
  #type = '';
  #style = 0;
  #value: string | undefined;
  #isText = false;
  #isFormula = false;
  #phonetic = false;

  constructor(strings: readonly string[], dateStyles: ReadonlySet<number>, date1904: boolean) {
    this.#strings = strings;
    this.#dateStyles = dateStyles;
    this.#date1904 = date1904;
  }

  /** Returns the complete rows, each once; rows without a cell are left out. */
  take(): Cell[][] {
    const rows = this.#rows;
    this.#rows = [];
    return rows;
  }

  open(name: string, attributes: Record<string, string>): void {
    switch (name) {
      case 'row':
        if (++this.#count > maxRows) throw fileInvalid(`The sheet has more than ${maxRows} rows. Send csv.`);
        this.#row = [];
        this.#column = 0;
        break;
      case 'c':
        if (attributes['r'] !== undefined) this.#column = columnOf(attributes['r']);
        this.#type = attributes['t'] ?? 'n';
        this.#style = Number(attributes['s'] ?? 0);
        this.#value = undefined;
        this.#isFormula = false;
        break;
      case 'f':
        this.#isFormula = true;
        break;
      case 'v':
      case 't':
        this.#isText = !this.#phonetic;
        this.#value ??= '';
        break;
      case 'rPh':
        this.#phonetic = true;
        break;
      default:
    }
  }

  text(text: string): void {
    if (this.#isText) this.#value = limited((this.#value ?? '') + text);
  }

  close(name: string): void {
    switch (name) {
      case 'v':
      case 't':
        this.#isText = false;
        break;
      case 'rPh':
        this.#phonetic = false;
        break;
      case 'c':
        this.#put(this.#cell());
        this.#column++;
        break;
      case 'row':
        if (this.#row !== undefined && this.#row.length > 0) this.#rows.push(this.#row);
        this.#row = undefined;
        break;
      default:
    }
  }

  #put(cell: Cell): void {
    if (cell === null || this.#row === undefined) return;
    if (this.#column >= maxColumns)
      throw fileInvalid(`The sheet has values beyond its column ${maxColumns}: no more are read.`);
    while (this.#row.length < this.#column) this.#row.push(null);
    this.#row[this.#column] = cell;
  }

  #cell(): Cell {
    const value = this.#value;
    if (value === undefined || (value === '' && this.#type !== 'str' && this.#type !== 'inlineStr')) {
      return this.#isFormula
        ? unusable(
            '',
            'holds a formula without its result: open the file in a spreadsheet program and save it',
          )
        : null;
    }
    switch (this.#type) {
      case 's':
        return (
          this.#strings[Number(value)] ?? unusable('', 'refers to a text that the workbook does not have')
        );
      case 'b':
        return value === '1' || value === 'true';
      case 'e':
        return unusable(value, `holds the error ${value}`);
      case 'n':
        return this.#number(value);
      default:
        return unescape(value);
    }
  }

  #number(text: string): Cell {
    const number = Number(text);
    if (!Number.isFinite(number)) return unusable(text, 'holds no number that can be read');
    return this.#dateStyles.has(this.#style) ? toDate(number, this.#date1904) : number;
  }
}

function unusable(text: string, problem: string): UnusableCell {
  return { text, problem };
}

/** Returns the zero-based column of a reference such as `AB12`. */
function columnOf(reference: string): number {
  let column = 0;
  for (let index = 0; index < reference.length; index++) {
    const letter = reference.charCodeAt(index) & ~0x20;
    if (letter < 65 || letter > 90) break;
    column = column * 26 + letter - 64;
    if (column > maxColumns) break;
  }
  if (column === 0) throw fileInvalid(`A cell has the reference ${reference.slice(0, 20)}, which is none.`);
  return column - 1;
}

/**
 * Converts days since 1899-12-30 (Excel counts a 29th of February 1900, which did not exist) or since 1904.
 */
function toDate(serial: number, date1904: boolean): Cell {
  const epoch = date1904 ? Date.UTC(1904, 0, 1) : Date.UTC(1899, 11, serial < 60 ? 31 : 30);
  const date = new Date(epoch + Math.round(serial * dayMs));
  const year = date.getUTCFullYear();
  return year >= 1899 && year <= 9999 ? date : serial;
}

function limited(text: string): string {
  if (text.length <= maxCellLength * 2) return text;
  throw fileInvalid(`A cell has more than ${maxCellLength} characters: no spreadsheet program writes that.`);
}

/** Characters that XML can't contain are written as `_x0007_` (ECMA-376 part 1, 22.9.2.19). */
function unescape(text: string): string {
  if (!text.includes('_x')) return text;
  return text.replaceAll(/_x([0-9A-Fa-f]{4})_/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
