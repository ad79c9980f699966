import { extname } from 'node:path';
import { csv } from './csv.js';
import { fileInvalid, type FileFormat } from './file-format.js';
import { jsonl } from './jsonl.js';
import { readStart, readText } from './text.js';
import { xlsx } from './xlsx.js';

/** Every format, by name. */
export const fileFormats: Readonly<Record<FileFormat['name'], FileFormat>> = { xlsx, csv, jsonl };

const zipStart = Buffer.from('PK\x03\x04');
/** Compound File Binary: Excel 97 to 2003, and any workbook with a password. */
const oleStart = Buffer.from('d0cf11e0a1b11ae1', 'hex');

/**
 * Detects the format of a file by its content; the name only decides for ambiguous text.
 *
 * @throws MillraceError `FILE_INVALID` for any other format.
 */
export async function detectFormat(path: string, name: string): Promise<FileFormat> {
  const start = await readStart(path, 8);
  if (start.length === 0) throw fileInvalid('The file is empty.');
  if (start.subarray(0, 4).equals(zipStart)) return xlsx;
  if (start.equals(oleStart)) {
    throw fileInvalid(
      'The file is an old Excel workbook (.xls), or one that is protected with a password. Save it as .xlsx without a password.',
    );
  }
  const text = await textStart(path);
  if (text.startsWith('{')) return jsonl;
  if (text.startsWith('[')) {
    throw fileInvalid('The file is a JSON array. Send one object a line, or the array to …/predict.');
  }
  if (['.jsonl', '.ndjson', '.json'].includes(extname(name).toLowerCase())) {
    throw fileInvalid('The file is named as JSON lines, and its first line is no JSON object.');
  }
  return csv;
}

async function textStart(path: string): Promise<string> {
  for await (const text of readText(path)) {
    const start = text.trimStart();
    if (start !== '') return start;
  }
  throw fileInvalid('The file has nothing but white space.');
}
