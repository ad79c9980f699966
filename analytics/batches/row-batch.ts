/** A column of a batch, and how its values come. */
export interface BatchColumn {
  name: string;
  kind: 'text' | 'double' | 'int' | 'long' | 'time';
  nullable: boolean;
}

/**
 * Rows for one insert, in the form in which they are sent. Values are written in the order of the columns,
 * each by the method of its kind, and then `endRow`. A row that is not ended can be dropped.
 */
export interface RowBatch {
  readonly columns: readonly BatchColumn[];
  /** Number of ended rows. */
  readonly rows: number;
  /** @param bytes - UTF-8 from `start` to `end`. */
  text(bytes: Buffer, start: number, end: number): void;
  double(value: number): void;
  /** @param value - of the kinds `int` and `long`: a safe integer. */
  integer(value: number): void;
  /** @param value - milliseconds since 1970; `isStorable`. */
  time(value: number): void;
  null(): void;
  endRow(): void;
  dropRow(): void;
  /** Whether all texts are valid UTF-8, if none begins inside a character. */
  isUtf8(): boolean;
  /** Makes the batch empty, to be used again. */
  clear(): void;
}

/** Maximum bytes of a batch, or of one column: positions have 31 bits. */
export const maxBatchBytes = 2 ** 30;
