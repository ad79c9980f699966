import { isStorable } from '../../analytics/rows.js';
import type { BatchColumn, RowBatch } from '../../analytics/batches/row-batch.js';
import type { AvroType, Contract } from '../../schemas/contracts.js';
import { wireHeaderBytes } from '../../streams/serde.js';
import { noOutputs } from '../scoring/prediction.js';

/**
 * Copies a value of the record into the batch.
 *
 * @returns whether it is plain.
 */
type Copy = (from: Reader, into: RowBatch) => boolean;

interface Field {
  column: BatchColumn;
  copy: Copy;
}

/**
 * Copies predictions from their Avro bytes into the rows of a batch, without making objects and texts of
 * them: that takes a tenth of the time. Only plain ones: values that need a conversion, a check or an error
 * are left to `toPredictionRow`, which gives plain ones the same row.
 */
export class PlainPredictions {
  readonly columns: readonly BatchColumn[];
  readonly #copies: readonly Copy[];
  readonly #reader = new Reader();

  constructor({ schema }: Contract) {
    const fields = schema.fields.map(({ name, type }) => fieldOf(name, type));
    this.columns = fields.map(({ column }) => column);
    this.#copies = fields.map(({ copy }) => copy);
  }

  /**
   * Adds the row of a prediction in wire format that was written with the schema of the contract.
   *
   * @returns false, and adds nothing, if it is not plain. Whether its texts are UTF-8 is left to
   *   {@link RowBatch.isUtf8}.
   */
  add(value: Buffer, into: RowBatch): boolean {
    const reader = this.#reader;
    reader.bytes = value;
    reader.position = wireHeaderBytes;
    for (const copy of this.#copies) {
      if (copy(reader, into)) continue;
      into.dropRow();
      return false;
    }
    if (reader.position !== value.length) {
      into.dropRow();
      return false;
    }
    into.endRow();
    return true;
  }
}

/** Reads Avro's values. A length or number that is not plain is NaN. */
class Reader {
  bytes: Buffer = Buffer.alloc(0);
  position = 0;

  /** @returns NaN beyond the end, or for a number that is not safe: up to 2^52, since zigzag doubles it. */
  long(): number {
    const { bytes } = this;
    let { position } = this;
    const first = bytes[position++];
    if (first === undefined) return Number.NaN;
    let value = first & 0x7f;
    let byte = first;
    for (let factor = 128; byte >= 0x80; factor *= 128) {
      byte = bytes[position++] ?? 0;
      value += (byte & 0x7f) * factor;
      if (value > Number.MAX_SAFE_INTEGER || position > bytes.length) return Number.NaN;
    }
    this.position = position;
    return (first & 1) === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** Skips a text. @returns where it begins; NaN if it is cut off or begins inside a character. */
  text(): number {
    const length = this.long();
    const start = this.position;
    const end = start + length;
    if (!(length >= 0 && end <= this.bytes.length)) return Number.NaN;
    this.position = end;
    return length > 0 && ((this.bytes[start] ?? 0) & 0xc0) === 0x80 ? Number.NaN : start;
  }
}

/** @throws Error for a type that predictions do not have. */
function fieldOf(name: string, type: AvroType): Field {
  if (name === 'prediction_id') return { column: { name, kind: 'text', nullable: false }, copy: copyUuid };
  if (name === 'outputs') return { column: { name, kind: 'text', nullable: false }, copy: copyOutputs };
  if (Array.isArray(type) && type.length === 2 && type[0] === 'null' && type[1] !== undefined) {
    const { column, copy } = fieldOf(name, type[1]);
    return { column: { ...column, nullable: true }, copy: optional(copy) };
  }
  const [kind, copy] = copyOf(type);
  return { column: { name, kind, nullable: false }, copy };
}

function copyOf(type: AvroType): [BatchColumn['kind'], Copy] {
  if (typeof type === 'object' && !Array.isArray(type)) {
    if (type.type === 'enum') return ['text', copySymbol(type.symbols ?? [])];
    if (type.type === 'long' && type.logicalType === 'timestamp-millis') return ['time', copyTime];
  }
  if (type === 'string') return ['text', copyText];
  if (type === 'double') return ['double', copyDouble];
  if (type === 'int') return ['int', copyInt];
  if (type === 'long') return ['long', copyLong];
  throw new Error(`Predictions have no columns of the type ${JSON.stringify(type)}.`);
}

const copyText: Copy = (from, into) => {
  const start = from.text();
  if (Number.isNaN(start)) return false;
  into.text(from.bytes, start, from.position);
  return true;
};

const copyDouble: Copy = (from, into) => {
  const start = from.position;
  from.position += 8;
  if (from.position > from.bytes.length) return false;
  const value = from.bytes.readDoubleLE(start);
  // JSON has no -0.
  into.double(value + 0);
  return Number.isFinite(value);
};

const copyLong: Copy = (from, into) => {
  const value = from.long();
  if (Number.isNaN(value)) return false;
  into.integer(value);
  return true;
};

const copyInt: Copy = (from, into) => {
  const value = from.long();
  if (value !== (value | 0)) return false;
  into.integer(value);
  return true;
};

const copyTime: Copy = (from, into) => {
  const value = from.long();
  if (!isStorable(value)) return false;
  into.time(value);
  return true;
};

/** A UUID as Millrace writes it, in the usual form. */
const copyUuid: Copy = (from, into) => {
  const start = from.text();
  if (Number.isNaN(start) || from.position - start !== uuidForm.length) return false;
  for (let index = 0; index < uuidForm.length; index++)
    if (uuidKinds[from.bytes[start + index] ?? 0] !== uuidForm[index]) return false;
  into.text(from.bytes, start, from.position);
  return true;
};

/** 1 for a hexadecimal digit, 2 for a hyphen, by character. */
const uuidKinds = Uint8Array.from({ length: 256 }, (_, code) => {
  const character = String.fromCharCode(code);
  return /[\da-f]/i.test(character) ? 1 : Number(character === '-') * 2;
});
const uuidForm = Uint8Array.from('00000000-0000-0000-0000-000000000000', (part) => (part === '-' ? 2 : 1));

const emptyOutputs = Buffer.from(noOutputs);

/** Predictions of earlier releases have none. */
const copyOutputs: Copy = (from, into) => {
  const branch = from.long();
  if (branch === 1) return copyText(from, into);
  if (branch === 0) into.text(emptyOutputs, 0, emptyOutputs.length);
  return branch === 0;
};

function copySymbol(symbols: readonly string[]): Copy {
  const texts = symbols.map((symbol) => Buffer.from(symbol));
  return (from, into) => {
    const text = texts[from.long()];
    if (text === undefined) return false;
    into.text(text, 0, text.length);
    return true;
  };
}

function optional(copy: Copy): Copy {
  return (from, into) => {
    const branch = from.long();
    if (branch === 1) return copy(from, into);
    if (branch === 0) into.null();
    return branch === 0;
  };
}
