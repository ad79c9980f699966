import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CsvError, parse } from 'csv-parse';
import { stringify } from 'csv-stringify/sync';
import {
  addedCell,
  cellText,
  fileInvalid,
  type FileFormat,
  freeNames,
  type InputFile,
  type InputRow,
  maxColumns,
  maxRecordLength,
  toColumns,
  toRow,
} from './file-format.js';
import { readText } from './text.js';

const batchRows = 500;
const quote = 34;
const lineFeed = 10;
const carriageReturn = 13;
/** The maximum width of an Excel sheet. */
const maxCells = 16_384;
const delimiters = [',', ';', '\t', '|'];

interface CsvFile extends InputFile {
  columns: readonly string[];
  delimiter: string;
}

/**
 * The csv format. Cells are separated by comma, semicolon, tab or bar, detected in the first line; quotes as
 * in RFC 4180.
 */
export const csv: FileFormat = {
  name: 'csv',
  contentType: 'text/csv; charset=utf-8',
  typed: false,
  open: async (path) => {
    const delimiter = await delimiterOf(path);
    let columns: string[] | undefined;
    for await (const records of readRecords(path, delimiter)) {
      columns = toColumns(records[0]);
      break;
    }
    const names = columns ?? toColumns(undefined);
    const pointsAreDecimal = delimiter === ',' || delimiter === '|';
    const rows = (): AsyncGenerator<InputRow[]> => readRows(path, delimiter, names);
    const file: CsvFile = { columns: names, delimiter, pointsAreDecimal, rows, close: () => undefined };
    return file;
  },
  write: async (path, input, added, rows) => {
    const { columns, delimiter } = input as CsvFile;
    const lines = async function* (): AsyncGenerator<string> {
      yield stringify([[...columns, ...freeNames(added, (name) => columns.includes(name))]], { delimiter });
      for await (const batch of rows) {
        const cells = batch.map(([{ original }, values]) => [
          ...(typeof original === 'string' ? [original] : original.map(cellText)),
          ...added.map((name) => addedCell(values[name]) ?? ''),
        ]);
        yield stringify(cells, { delimiter });
      }
    };
    await pipeline(lines, createWriteStream(path));
  },
};

async function* readRows(
  path: string,
  delimiter: string,
  columns: readonly string[],
): AsyncGenerator<InputRow[]> {
  let isFirst = true;
  for await (const records of readRecords(path, delimiter)) {
    const rows = (isFirst ? records.slice(1) : records).flatMap((cells) => toRow(columns, cells) ?? []);
    isFirst = false;
    if (rows.length > 0) yield rows;
  }
}

async function* readRecords(path: string, delimiter: string): AsyncGenerator<string[][]> {
  const parser = parse({
    delimiter,
    // All three line ends in one file, for example of concatenated parts: the parser would look for the first
    // one only.
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    // A quote inside of a cell is a character, such as that of inches.
    relax_quotes: true,
    skip_empty_lines: true,
    max_record_size: maxRecordLength,
  });
  const text = Readable.from(withoutEndlessRows(readText(path), delimiter));
  text.once('error', (error) => parser.destroy(error));
  text.pipe(parser);
  try {
    let batch: string[][] = [];
    // The header separately: a caller that needs only the header does not wait for more.
    let size = 1;
    for await (const record of parser as AsyncIterable<string[]>) {
      if (batch.push(withoutEmptyEnd(record)) < size) continue;
      yield batch;
      batch = [];
      size = batchRows;
    }
    if (batch.length > 0) yield batch;
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const line = typeof error['lines'] === 'number' ? ` near line ${error['lines']}` : '';
    throw fileInvalid(`The file is no csv${line}: ${whatIsWrong(error)}`, error);
  } finally {
    text.destroy();
    parser.destroy();
  }
}

/**
 * The parser counts characters, and none for empty cells: a file of commas would be one row that fills the
 * memory.
 */
async function* withoutEndlessRows(text: AsyncIterable<string>, delimiter: string): AsyncGenerator<string> {
  const separator = delimiter.charCodeAt(0);
  let cells = 1;
  // As in the parser: a quote opens only at the beginning of a cell, and one after a closing quote reopens
  // it.
  let isFirst = true;
  let isQuoted = false;
  let isClosing = false;
  for await (const piece of text) {
    for (let index = 0; index < piece.length; index++) {
      const char = piece.charCodeAt(index);
      if (isQuoted) {
        isClosing = char === quote;
        isQuoted = !isClosing;
        continue;
      }
      if (char === quote && (isFirst || isClosing)) isQuoted = true;
      isFirst = char === separator || char === lineFeed || char === carriageReturn;
      isClosing = false;
      if (char === lineFeed || char === carriageReturn) cells = 1;
      else if (char === separator && ++cells > maxCells)
        throw fileInvalid(`A row has more than ${maxCells} cells.`);
    }
    yield piece;
  }
}

/** Most of a wide row may be empty, and is not kept. */
function withoutEmptyEnd(record: string[]): string[] {
  const width = record.findLastIndex((cell) => cell !== '') + 1;
  if (width > maxColumns)
    throw fileInvalid(`A row has a value in column ${width}; up to ${maxColumns} are read.`);
  return width === record.length ? record : record.slice(0, width);
}

function whatIsWrong({ code, message }: CsvError): string {
  if (code === 'CSV_MAX_RECORD_SIZE')
    return `a row has more than ${maxRecordLength} characters. Is a quote before it not closed?`;
  return code === 'CSV_QUOTE_NOT_CLOSED' ? 'a quote is opened and never closed.' : message;
}

/** Returns the most frequent separator of the first line outside of quotes. */
async function delimiterOf(path: string): Promise<string> {
  let line = '';
  for await (const text of readText(path)) {
    line += text;
    if (/[\r\n]/.test(line.trimStart()) || line.length > maxRecordLength) break;
  }
  const header = (line.trimStart().split(/[\r\n]/)[0] ?? '').replaceAll(/"[^"]*"/g, '');
  const counts = delimiters.map((delimiter) => header.split(delimiter).length);
  return delimiters[counts.indexOf(Math.max(...counts))] ?? ',';
}
