import { MillraceError } from '../platform/errors.js';

/** A field of a Protocol Buffers message: a number for varints, bytes for length-delimited fields. */
export interface Field {
  number: number;
  value: number | Uint8Array;
  /** The encoded field with its tag. */
  raw: Uint8Array;
}

/** Returns the fields with this number that have a length: messages, texts and bytes. */
export function messages(message: Uint8Array, wanted: number): Uint8Array[] {
  return fields(message).flatMap(({ number, value }) =>
    number === wanted && typeof value !== 'number' ? [value] : [],
  );
}

/** Returns the first field with this number as text, or an empty string. */
export function text(message: Uint8Array, wanted: number): string {
  const [first] = messages(message, wanted);
  return first === undefined ? '' : new TextDecoder().decode(first);
}

/** Returns all fields with this number as text. */
export function texts(message: Uint8Array, wanted: number): string[] {
  return messages(message, wanted).map((each) => new TextDecoder().decode(each));
}

/** Returns a repeated field of 64-bit whole numbers, packed or not. */
export function integersOf(message: Uint8Array, wanted: number): bigint[] {
  return fields(message).flatMap(({ number, value, raw }) => {
    if (number !== wanted) return [];
    // Without packing, a tag is before the number.
    return typeof value === 'number' ? bigVarints(raw).slice(1) : bigVarints(value);
  });
}

function bigVarints(packed: Uint8Array): bigint[] {
  const found: bigint[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of packed) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (shift > 70n) throw invalid('it has a whole number of more than 64 bits');
    if (byte >= 128) continue;
    found.push(BigInt.asIntN(64, value));
    value = shift = 0n;
  }
  return found;
}

/**
 * Parses fields (Protocol Buffers, "Encoding"): a tag, then a varint, 4 or 8 bytes, or a length and that many
 * bytes.
 */
export function fields(message: Uint8Array): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined || factor > 2 ** 63) throw invalid('it ends in the middle of a field');
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const start = at;
    const tag = varint();
    // Other parsers truncate a longer tag to 32 bits and would see another field.
    if (tag > 0xffff_ffff) throw invalid('it has a field of an impossible number');
    const wireType = tag & 7;
    let value: Field['value'] = 0;
    if (wireType === 0) value = varint();
    else {
      const length = wireType === 2 ? varint() : { 1: 8, 5: 4 }[wireType];
      if (length === undefined) throw invalid(`it has a field of the unknown wire type ${wireType}`);
      if (length > message.length - at) throw invalid('it ends in the middle of a field');
      value = message.subarray(at, at + length);
      at += length;
    }
    found.push({ number: Math.floor(tag / 8), value, raw: message.subarray(start, at) });
  }
  return found;
}

/** Encodes a field with a length. */
export function bytes(number: number, content: Uint8Array): Uint8Array {
  return concat([varintOf(number * 8 + 2), varintOf(content.length), content]);
}

/** Encodes a field that is a varint. */
export function varintField(number: number, value: number): Uint8Array {
  return concat([varintOf(number * 8), varintOf(value)]);
}

function varintOf(value: number): Uint8Array {
  const digits: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...digits, rest]);
    digits.push((rest % 128) + 128);
  }
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

export function invalid(problem: string): MillraceError {
  return new MillraceError(
    'ONNX_INVALID',
    `The ONNX model is invalid: ${problem}. Export it or copy it again.`,
  );
}
