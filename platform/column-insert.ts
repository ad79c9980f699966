/**
 * A column in Arrow's memory layout (https://arrow.apache.org/docs/format/Columnar.html), which an engine in
 * this process reads without parsing.
 */
export interface ArrowColumn {
  name: string;
  /**
   * As in Arrow's C data interface: `u` text, `g` float64, `i` int32, `l` int64, `tsm:UTC` milliseconds since
   * 1970.
   */
  format: string;
  /** Number of rows. */
  length: number;
  nullCount: number;
  /** A bit for each row that is not null, or `null` if none is; for text, where each row ends; the values. */
  buffers: (Buffer | null)[];
}

/** Rows to insert. The buffers must not change until they are inserted. */
export interface ColumnInsert {
  table: string;
  columns: readonly ArrowColumn[];
  settings: Readonly<Record<string, string | number>>;
}

/** @throws An error with ClickHouse's `code`, as the official client throws it. */
export type InsertColumns = (insert: ColumnInsert) => Promise<void>;
