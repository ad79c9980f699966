/** Returns the position of the first invalid UTF-8 byte, where the re-encoded text has other bytes. */
export function firstInvalidByte(bytes: Uint8Array): number {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const replaced = Buffer.from(text);
  const differs = bytes.findIndex((byte, index) => byte !== replaced[index]);
  const at = differs === -1 ? bytes.length : differs;
  // The replacement character, EF BF BD, may agree with the first one or two bytes that it replaces.
  const start = [at - 2, at - 1].find((from) => from >= 0 && replaced.indexOf('\ufffd', from) === from);
  return start ?? at;
}
