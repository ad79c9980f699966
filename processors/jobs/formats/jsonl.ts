import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { messageOf } from '../../../platform/errors.js';
import {
  type AddedValues,
  fileInvalid,
  type FileFormat,
  freeNames,
  type InputFile,
  type InputRow,
  maxRecordLength,
} from './file-format.js';
import { readText } from './text.js';

/** Maximum number of objects and arrays around a value. No contract allows as many. */
const maxDepth = 100;

/** The jsonl format: one JSON object a line. */
export const jsonl: FileFormat = {
  name: 'jsonl',
  contentType: 'application/x-ndjson',
  typed: true,
  open: (path) =>
    Promise.resolve<InputFile>({ columns: undefined, rows: () => readRows(path), close: () => undefined }),
  write: async (path, _input, added, rows) => {
    const lines = async function* (): AsyncGenerator<string> {
      for await (const batch of rows) {
        yield batch.map(([row, values]) => `${toLine(row, added, values)}\n`).join('');
      }
    };
    await pipeline(lines, createWriteStream(path));
  },
};

async function* readRows(path: string): AsyncGenerator<InputRow[]> {
  let rest = '';
  let number = 0;
  for await (const text of readText(path)) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxRecordLength) throw tooLong(number + lines.length + 1);
    const rows = lines.flatMap((line) => toRow(line, ++number));
    if (rows.length > 0) yield rows;
  }
  const last = toRow(rest, ++number);
  if (last.length > 0) yield last;
}

function toRow(line: string, number: number): InputRow[] {
  if (line.length > maxRecordLength) throw tooLong(number);
  const original = line.trim();
  if (original === '') return [];
  if (isTooDeep(original))
    return [{ values: {}, problem: `is nested deeper than ${maxDepth} levels`, original }];
  try {
    const values: unknown = JSON.parse(original);
    if (typeof values !== 'object' || values === null || Array.isArray(values))
      return [{ values: {}, problem: 'is no JSON object', original }];
    return [{ values: values as Record<string, unknown>, original }];
  } catch (error) {
    return [{ values: {}, problem: `is no JSON: ${messageOf(error)}`, original }];
  }
}

/** Whether a line can't be copied from one thread to another, which goes as deep as the stack. */
function isTooDeep(line: string): boolean {
  let [depth, inText] = [0, false];
  for (let index = 0; index < line.length; index++) {
    const char = line[index];
    if (char === '"') inText = !inText;
    else if (inText) index += char === '\\' ? 1 : 0;
    else if (char === '[' || char === '{') depth++;
    else if (char === ']' || char === '}') depth--;
    if (depth > maxDepth) return true;
  }
  return false;
}

/**
 * Returns the original line, so that no number loses a digit, with the added values before its closing brace.
 */
function toLine(row: InputRow, added: readonly string[], values: AddedValues): string {
  const line = typeof row.original === 'string' ? row.original : '{}';
  const isObject = row.problem === undefined;
  const names = freeNames(added, (name) => isObject && Object.hasOwn(row.values, name));
  const extra = Object.fromEntries(added.map((name, index) => [names[index] ?? name, values[name] ?? null]));
  if (!isObject) return JSON.stringify({ line, ...extra });
  const own = line.slice(0, -1).trimEnd();
  return `${own}${own === '{' ? '' : ','}${JSON.stringify(extra).slice(1)}`;
}

function tooLong(line: number): Error {
  return fileInvalid(`Line ${line} has more than ${maxRecordLength} characters.`);
}
