const polynomial = 0x82f63b78;
const tableBytes = 256 * 4;
/**
 * Eight tables of 256 entries, one after another. They are read through views instead of typed arrays, which
 * have no holes to check.
 */
const tables = buildTables();

function buildTables(): DataView {
  const view = new DataView(new ArrayBuffer(8 * tableBytes));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    view.setInt32(byte * 4, crc, true);
  }
  for (let at = tableBytes; at < 8 * tableBytes; at += 4) {
    const previous = view.getInt32(at - tableBytes, true);
    view.setInt32(at, (previous >>> 8) ^ view.getInt32((previous & 0xff) * 4, true), true);
  }
  return view;
}

/**
 * Returns the CRC-32C (Castagnoli), the checksum of record batches; `zlib.crc32` uses another polynomial.
 * Slicing-by-8: eight table look-ups per eight bytes instead of a chain of eight dependent ones.
 *
 * @returns an unsigned 32-bit number; for "123456789" it is 0xe3069283.
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, end);
  let crc = -1;
  let i = start;
  for (; i + 8 <= end; i += 8) {
    const low = crc ^ view.getInt32(i, true);
    const high = view.getInt32(i + 4, true);
    crc =
      tables.getInt32(7 * tableBytes + ((low & 0xff) << 2), true) ^
      tables.getInt32(6 * tableBytes + ((low >>> 6) & 0x3fc), true) ^
      tables.getInt32(5 * tableBytes + ((low >>> 14) & 0x3fc), true) ^
      tables.getInt32(4 * tableBytes + ((low >>> 22) & 0x3fc), true) ^
      tables.getInt32(3 * tableBytes + ((high & 0xff) << 2), true) ^
      tables.getInt32(2 * tableBytes + ((high >>> 6) & 0x3fc), true) ^
      tables.getInt32(tableBytes + ((high >>> 14) & 0x3fc), true) ^
      tables.getInt32((high >>> 22) & 0x3fc, true);
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ tables.getInt32(((crc ^ view.getUint8(i)) & 0xff) << 2, true);
  return ~crc >>> 0;
}
