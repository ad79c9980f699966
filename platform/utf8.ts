/** Where bytes begin to be no UTF-8: there the text that stands for them has other bytes. */
export function firstInvalidByte(bytes: Uint8Array): number {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const replaced = Buffer.from(text);
  const differs = bytes.findIndex((byte, index) => byte !== replaced[index]);
  const at = differs === -1 ? bytes.length : differs;
  // The replacement character, EF BF BD, may agree with the first one or two bytes of what it replaces.
  const start = [at - 2, at - 1].find((from) => from >= 0 && replaced.indexOf('\ufffd', from) === from);
  return start ?? at;
}
