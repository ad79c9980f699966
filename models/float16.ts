// onnxruntime-node 1.30 gives and takes float16 as the bits of each number.

const numbers = new Float32Array(1);
const bits = new Uint32Array(numbers.buffer);

/** Returns the IEEE 754 binary16 bits of a number, rounded to nearest, ties to even. */
export function toFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  // Below the smallest normal number, 2^-14, numbers are multiples of 2^-24. Above the largest they are
  // infinite.
  if (size < 2 ** -14) return sign | roundToEven(size * 2 ** 24);
  const exponent = exponentOf(size);
  const fraction = roundToEven((size / 2 ** exponent - 1) * 1024);
  // A fraction that was rounded up to 1024 carries into the exponent, as it has to.
  const encoded = (exponent + 15) * 1024 + fraction;
  return sign | (encoded > 0x7c00 ? 0x7c00 : encoded);
}

/** Returns the number with these binary16 bits. */
export function fromFloat16(encoded: number): number {
  const sign = encoded & 0x8000 ? -1 : 1;
  const exponent = (encoded >> 10) & 0x1f;
  const fraction = encoded & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Returns the exponent of a number from 2^-14, or a larger one than binary16 has. */
function exponentOf(size: number): number {
  numbers[0] = size;
  const rounded = ((bits[0] ?? 0) >>> 23) - 127;
  // The conversion to a 32-bit float may have rounded up to the next power of two.
  return Math.min(16, 2 ** rounded > size ? rounded - 1 : rounded);
}

function roundToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
