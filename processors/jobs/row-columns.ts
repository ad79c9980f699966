import type { RecordSchema } from '../../schemas/contracts.js';
import { type EventField, eventShape, type FieldType, maxDepth } from '../../schemas/field-types.js';
import { fileInvalid, type InputFile } from './formats/file-format.js';

/** A column of a field, and the columns of the values inside it: `customer.age` is inside of `customer`. */
export interface Column<Cell> {
  /** The column's name, or the one that it would have. */
  path: string;
  /** Undefined if there is no such column. */
  cell?: Cell;
  /** By the next part of the path. */
  parts: Map<string, Column<Cell>>;
}

/**
 * Arranges the columns of a file, or the cells of a row, by the fields that they belong to. Columns deeper
 * than any contract are of no field: their names may have a million dots.
 */
export function arrange<Cell>(
  columns: Iterable<readonly [string, Cell]>,
  { fields }: { fields: readonly EventField[] },
): Column<Cell>['parts'] {
  const parts: Column<Cell>['parts'] = new Map();
  const names = new Set(fields.map(({ name }) => name));
  for (const [path, cell] of columns) {
    const end = path.indexOf('.');
    if (!names.has(end === -1 ? path : path.slice(0, end))) continue;
    const steps = path.split('.', maxDepth + 2);
    if (steps.length > maxDepth + 1) continue;
    let column: Column<Cell> = { path: '', parts };
    for (const step of steps) {
      let next = column.parts.get(step);
      if (next === undefined) {
        next = { path: column.path === '' ? step : `${column.path}.${step}`, parts: new Map() };
        column.parts.set(step, next);
      }
      column = next;
    }
    column.cell = cell;
  }
  return parts;
}

/** Maximum number of items of an array in columns of their own. */
const maxPositions = 10_000;

/** Returns the position in an array that a part of a column's name is; undefined for other texts. */
export function positionOf(step: string): number | undefined {
  const position = /^(?:0|[1-9]\d{0,4})$/.test(step) ? Number(step) : maxPositions;
  return position < maxPositions ? position : undefined;
}

/**
 * Checks that a header has a column for each required value, none twice, and not both one for a nested value
 * as JSON and one inside it.
 *
 * @throws MillraceError `FILE_INVALID` that names missing or ambiguous columns.
 */
export function checkColumns({ columns }: Pick<InputFile, 'columns'>, contract: RecordSchema): void {
  if (columns === undefined) return;
  const shape = eventShape(contract);
  const parts = arrange(
    columns.map((column) => [column, column]),
    shape,
  );
  const seen = new Map<string, number>();
  for (const column of columns) seen.set(column, (seen.get(column) ?? 0) + 1);
  const found: Found = { missing: [], twice: [], seen };
  for (const field of shape.fields) checkField(field, parts.get(field.name), field.name, found);
  if (found.twice.length > 0)
    throw fileInvalid(`The first row names ${found.twice.join(', ')} twice. Remove one of the columns.`);
  if (found.missing.length > 0)
    throw fileInvalid(`The first row must name the columns, and has no ${found.missing.join(', ')}.`);
}

interface Found {
  missing: string[];
  twice: string[];
  /** How often the header has each column. */
  seen: ReadonlyMap<string, number>;
}

function checkField(
  field: Pick<EventField, 'type' | 'default'>,
  column: Column<string> | undefined,
  path: string,
  found: Found,
): void {
  if ((found.seen.get(path) ?? 0) > 1) found.twice.push(path);
  const { type } = field;
  const isMissing = column === undefined || (column.cell === undefined && column.parts.size === 0);
  if (isMissing) {
    if (field.default === undefined && !type.nullable) found.missing.push(...requiredPaths(type, path));
    return;
  }
  if (column.cell !== undefined && column.parts.size === 0) return;
  if (type.kind === 'record') {
    const inside = type.fields.filter(({ name }) => column.parts.has(name));
    if (column.cell !== undefined) return onlyOne(column, inside[0]?.name);
    // Other columns may begin with the field's name.
    if (inside.length === 0 && (type.nullable || field.default !== undefined)) return;
    for (const each of type.fields)
      checkField(each, column.parts.get(each.name), `${path}.${each.name}`, found);
  } else if (type.kind === 'array' || type.kind === 'map') {
    const [first] = column.parts.keys();
    if (column.cell !== undefined) return onlyOne(column, first);
    checkItems(type, column, found);
  } else if (column.cell === undefined && field.default === undefined && !type.nullable)
    found.missing.push(path);
}

function onlyOne({ path }: Column<string>, inside: string | undefined): void {
  if (inside !== undefined)
    throw fileInvalid(`The first row names both ${path} and ${path}.${inside}. Remove one of the columns.`);
}

function checkItems(
  type: Extract<FieldType, { kind: 'array' | 'map' }>,
  { parts, path }: Column<string>,
  found: Found,
): void {
  for (const [step, column] of parts) {
    const each = type.kind === 'map' ? type.values : type.items;
    const position = positionOf(step);
    if (type.kind === 'array' && (position === undefined || position >= type.maxItems))
      throw fileInvalid(
        `The first row names ${column.path}. Items of ${path} are ${path}.0 to ${path}.${Math.min(type.maxItems, maxPositions) - 1}.`,
      );
    // Any of them may be left out, with all its columns.
    checkField({ type: { ...each, nullable: true }, default: undefined }, column, column.path, found);
  }
}

/** Returns the columns that a required value needs: those of its required fields, if it is a record. */
function requiredPaths(type: FieldType, path: string): string[] {
  if (type.kind !== 'record') return [path];
  const required = type.fields.filter((field) => field.default === undefined && !field.type.nullable);
  if (required.length === 0) return [path];
  return required.flatMap((field) => requiredPaths(field.type, `${path}.${field.name}`));
}
