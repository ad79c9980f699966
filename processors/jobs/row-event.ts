import type { RecordSchema } from '../../schemas/contracts.js';
import { type EventField, eventShape, type FieldType } from '../../schemas/field-types.js';
import { isAmbiguousNumber } from '../../schemas/number-text.js';
import { isNumberType } from '../../schemas/number-types.js';
import { type FieldError, InvalidEvent } from '../../schemas/event-schema.js';
import { messageOf } from '../../platform/errors.js';
import type { Scorer } from '../scoring/scorer.js';
import { type DecimalColumns, numberText } from './formats/examine.js';
import { type Cell, cellText, isUnusable, type ParsedRow, type UnusableCell } from './formats/file-format.js';
import { arrange, type Column, positionOf } from './row-columns.js';

/**
 * Returns the event of a row, or its errors. Columns that are no fields of the event are left out.
 *
 * A nested value has a column for each value inside it, such as `customer.age`, `readings.0` or
 * `tags.colour`, or one column with JSON.
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
  const shape = eventShape(contract);
  if (typed) {
    const own = shape.fields.filter(({ name }) => Object.hasOwn(row.values, name));
    return scorer.validate(Object.fromEntries(own.map(({ name }) => [name, row.values[name]])));
  }
  const reading = new RowReading(decimals);
  const event = reading.event(shape.fields, row.values as Record<string, Cell>);
  return reading.wrong.length > 0 ? new InvalidEvent(reading.wrong) : scorer.validate(event);
}

type Parts = Column<Cell>['parts'];

const noParts: Parts = new Map();

class RowReading {
  readonly wrong: FieldError[] = [];
  readonly #decimals: DecimalColumns;

  constructor(decimals: DecimalColumns) {
    this.#decimals = decimals;
  }

  /** Returns the fields that have values, in the contract's order. Most files have no nested ones. */
  event(fields: readonly EventField[], cells: Readonly<Record<string, Cell>>): Record<string, unknown> {
    const nested = fields.filter(({ type }) => isNested(type));
    const parts = nested.length === 0 ? noParts : arrange(Object.entries(cells), { fields: nested });
    const values: Record<string, unknown> = {};
    for (const field of fields) {
      const { name } = field;
      const hasCell = !isNested(field.type) && Object.hasOwn(cells, name);
      const column = hasCell ? { path: name, cell: cells[name] ?? null, parts: noParts } : parts.get(name);
      const value = this.#field(field, column);
      if (value !== undefined) values[name] = value;
    }
    return values;
  }

  #fields(fields: readonly EventField[], parts: Parts): Record<string, unknown> {
    const values: Record<string, unknown> = {};
    for (const field of fields) {
      const value = this.#field(field, parts.get(field.name));
      if (value !== undefined) values[field.name] = value;
    }
    return values;
  }

  /** An empty value is null if it may be; else its field has its default, or is missing. */
  #field({ type, default: standard }: EventField, column: Column<Cell> | undefined): unknown {
    if (column === undefined) return undefined;
    const value = this.#value(type, column);
    if (value !== undefined) return value;
    if (type.nullable) return null;
    if (column.cell !== undefined || standard !== undefined || !isNested(type)) return undefined;
    return type.kind === 'array' ? [] : {};
  }

  /** @returns undefined for an empty cell, and for a nested value whose cells are all empty. */
  #value(type: FieldType, { path, cell, parts }: Column<Cell>): unknown {
    if (isUnusable(cell)) {
      this.wrong.push({ field: path, problem: cell.problem });
      return undefined;
    }
    const isEmpty = cell === undefined || cell === null || (typeof cell === 'string' && cell.trim() === '');
    if (!isNested(type)) return isEmpty ? undefined : this.#convert(type, path, cell);
    if (!isEmpty) return this.#json(path, cell);
    if (type.kind === 'array') return this.#items(type.items, parts);
    if (type.kind === 'record') {
      const isFilled = type.fields.some(({ name }) => isFilledColumn(parts.get(name)));
      return isFilled ? this.#fields(type.fields, parts) : undefined;
    }
    const filled = [...parts].flatMap(([key, part]) => {
      const value = this.#value(type.values, part);
      return value === undefined ? [] : [[key, value] as const];
    });
    return filled.length === 0 ? undefined : Object.fromEntries(filled);
  }

  /** Cells behind the last one with a value are no items. */
  #items(type: FieldType, parts: Parts): unknown {
    const items: unknown[] = [];
    for (const [step, part] of parts) {
      const position = positionOf(step);
      const value = position === undefined ? undefined : this.#value(type, part);
      if (position !== undefined && value !== undefined) items[position] = value;
    }
    if (items.length === 0) return undefined;
    return Array.from(items, (item) => (item === undefined && type.nullable ? null : item));
  }

  #json(path: string, cell: Exclude<Cell, UnusableCell>): unknown {
    if (typeof cell !== 'string') return cell;
    try {
      return JSON.parse(cell) as unknown;
    } catch (error) {
      this.wrong.push({ field: path, problem: `must be JSON in this column: ${messageOf(error)}` });
      return undefined;
    }
  }

  #convert(type: FieldType, path: string, cell: Exclude<Cell, UnusableCell>): unknown {
    const text = cellText(cell).trim();
    if (type.kind === 'boolean') return /^(true|false)$/i.test(text) ? text.toLowerCase() === 'true' : cell;
    if (!isNumberType(type)) return typeof cell === 'string' ? cell : text;
    // A date cell gives the time to the millisecond, unless its field expects a day.
    if (cell instanceof Date) return text.includes('T') ? cell.toISOString() : text;
    if (typeof cell !== 'string') return cell;
    return this.#isNumber(text, path) ? Number(text) : text;
  }

  #isNumber(text: string, path: string): boolean {
    if (!numberText.test(text)) return false;
    return this.#decimals === 'all' || this.#decimals.has(path) || !isAmbiguousNumber(text);
  }
}

function isNested(type: FieldType): type is Extract<FieldType, { kind: 'record' | 'array' | 'map' }> {
  return type.kind === 'record' || type.kind === 'array' || type.kind === 'map';
}

function isFilledColumn(column: Column<Cell> | undefined): boolean {
  if (column === undefined) return false;
  const { cell, parts } = column;
  if (cell !== undefined && cell !== null && (typeof cell !== 'string' || cell.trim() !== '')) return true;
  return [...parts.values()].some(isFilledColumn);
}
