import { fieldPathsOf } from './field-names.js';
import { eventIdColumn, type Sample } from './sample-file.js';
import { columnValues, type Value, type Want } from './sample-values.js';

export interface SampleEvents {
  /** The event of each row. */
  events: Record<string, unknown>[];
  /** Path of the event's field by column. */
  fields: ReadonlyMap<string, string>;
}

/**
 * Makes the events of a sample: nested, with field names as Avro allows them.
 *
 * @param removed - columns that are no part of events.
 * @param wants - what the values of columns are for. Others are taken as they are.
 */
export function sampleEvents(
  sample: Sample,
  removed: readonly string[],
  wants: ReadonlyMap<string, Want>,
): SampleEvents {
  const kept = [...sample.segments].filter(
    ([column]) => !removed.includes(column) && column !== eventIdColumn,
  );
  const fields = fieldPathsOf(new Map(kept));
  if (!sample.isText) {
    const rename = renamer(sample, fields, new Set([...removed, eventIdColumn]), [...wants.keys()]);
    return { events: sample.rows.map(({ object = {} }) => rename(object, '', 0)), fields };
  }
  const events = sample.rows.map((): Record<string, unknown> => ({}));
  for (const [column, path] of fields) {
    const want = wants.get(column) ?? { dtype: undefined, isList: false, isEncoded: false };
    for (const [index, value] of columnValues(sample, column, want).entries()) {
      const event = events[index];
      if (event !== undefined) setPath(event, path.split('.'), value);
    }
  }
  return { events, fields };
}

function setPath(
  event: Record<string, unknown>,
  [first = '', ...rest]: readonly string[],
  value: Value,
): void {
  if (rest.length === 0) {
    event[first] = value;
    return;
  }
  const inner = event[first];
  const record = typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : {};
  event[first] = record;
  setPath(record, rest, value);
}

/** Returns a function that renames the fields of an event. Keys of maps stay. */
function renamer(
  { segments }: Sample,
  fields: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
  wanted: readonly string[],
): (object: Readonly<Record<string, unknown>>, prefix: string, depth: number) => Record<string, unknown> {
  const rename = (
    object: Readonly<Record<string, unknown>>,
    prefix: string,
    depth: number,
  ): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(object).flatMap(([key, value]) => {
        const path = `${prefix}${key}`;
        if (removed.has(path)) return [];
        // A leaf below it has the new name at the same depth.
        const leaf = [...fields].find(
          ([column]) =>
            column === path || (column.startsWith(`${path}.`) && segments.get(column)?.[depth] === key),
        );
        const isField =
          depth === 0 || wanted.some((column) => column === path || column.startsWith(`${path}.`));
        const name = isField ? (leaf?.[1].split('.')[depth] ?? key) : key;
        const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
        return [[name, isObject ? rename(value as Record<string, unknown>, `${path}.`, depth + 1) : value]];
      }),
    );
  return rename;
}
