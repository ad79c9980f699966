import type { AvroType, RecordSchema } from '../../schemas/contracts.js';
import { isAmbiguousNumber } from '../../schemas/number-text.js';
import { type FieldError, InvalidEvent } from '../../schemas/event-schema.js';
import type { Scorer } from '../scoring/scorer.js';
import { type DecimalColumns, numberText } from './formats/examine.js';
import {
  type Cell,
  cellText,
  fileInvalid,
  type InputFile,
  type ParsedRow,
  isUnusable,
  type UnusableCell,
} from './formats/file-format.js';

/**
 * Returns the event of a row, or its errors. Columns that are no fields of the event are left out.
 *
 * @param typed - whether values have their types already; else text is converted to a number or a boolean, or
 *   anything to text, if the contract asks for it, and an empty cell is a missing field.
 * @param decimals - as {@link examine} found them.
 */
export function toEvent(
  row: ParsedRow,
  contract: RecordSchema,
  scorer: Pick<Scorer, 'validate'>,
  typed: boolean,
  decimals: DecimalColumns = new Set(),
): object | InvalidEvent {
  if (row.problem !== undefined) return new InvalidEvent([{ field: '', problem: row.problem }]);
  const event: Record<string, unknown> = {};
  const unusable: FieldError[] = [];
  for (const { name, type } of contract.fields) {
    if (!Object.hasOwn(row.values, name)) continue;
    if (typed) {
      event[name] = row.values[name];
      continue;
    }
    const cell = row.values[name] as Cell;
    if (isUnusable(cell)) unusable.push({ field: name, problem: cell.problem });
    else setField(event, name, type, cell, decimals === 'all' || decimals.has(name));
  }
  return unusable.length > 0 ? new InvalidEvent(unusable) : scorer.validate(event);
}

/**
 * Checks that a header has a column for each required field, and no field twice.
 *
 * @throws MillraceError `FILE_INVALID` that names missing or ambiguous columns.
 */
export function checkColumns({ columns }: Pick<InputFile, 'columns'>, contract: RecordSchema): void {
  if (columns === undefined) return;
  const twice = contract.fields.filter(({ name }) => columns.indexOf(name) !== columns.lastIndexOf(name));
  if (twice.length > 0) {
    throw fileInvalid(`The first row names ${list(twice)} twice. Remove one of the columns.`);
  }
  const missing = contract.fields.filter(
    (field) => !columns.includes(field.name) && !('default' in field) && !isNullable(field.type),
  );
  if (missing.length === 0) return;
  throw fileInvalid(`The first row must name the columns, and has no ${list(missing)}.`);
}

function setField(
  event: Record<string, unknown>,
  name: string,
  type: AvroType,
  cell: Exclude<Cell, UnusableCell>,
  isDecimal: boolean,
): void {
  if (cell === null || (typeof cell === 'string' && cell.trim() === '')) {
    if (isNullable(type)) event[name] = null;
    return;
  }
  const text = cellText(cell).trim();
  switch (plainType(type)) {
    case 'int':
    case 'long':
    case 'float':
    case 'double':
      // A date cell gives the time to the millisecond, unless its field expects a day.
      if (cell instanceof Date) event[name] = text.includes('T') ? cell.toISOString() : text;
      else if (typeof cell === 'string')
        event[name] = numberText.test(text) && (isDecimal || !isAmbiguousNumber(text)) ? Number(text) : text;
      else event[name] = cell;
      break;
    case 'boolean':
      event[name] = /^(true|false)$/i.test(text) ? text.toLowerCase() === 'true' : cell;
      break;
    default:
      event[name] = typeof cell === 'string' ? cell : text;
  }
}

function isNullable(type: AvroType): boolean {
  return Array.isArray(type) && type.includes('null');
}

function plainType(type: AvroType): string {
  if (Array.isArray(type)) return plainType(type.find((each) => each !== 'null') ?? 'null');
  return typeof type === 'object' ? plainType(type.type) : type;
}

function list(fields: readonly { name: string }[]): string {
  return fields.map(({ name }) => name).join(', ');
}
