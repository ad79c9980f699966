/**
 * Text that can be shown on a terminal whatever it holds: what a terminal would act on (control characters, also those
 * above 127) and what changes how other text looks (direction marks, line separators, lone surrogates) becomes `\uXXXX`.
 * JSON stays the same JSON.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, index) => escape(character.charCodeAt(index))).join(''),
  );
}

/** As {@link printable}, of text in several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/**
 * Bytes to be looked at: the text if they are nothing but that, else sixteen a line in hex beside what of them is ASCII.
 *
 * @param limit - bytes shown; how many are left out is said.
 */
export function printableBytes(bytes: Buffer, limit = 4096): string {
  const shown = bytes.subarray(0, limit);
  const rest = bytes.length > limit ? `\n… and ${bytes.length - limit} bytes more` : '';
  const text = shown.toString();
  // A character cut in two by the limit is no sign of anything.
  const isText = !text.slice(0, -1).includes('\uFFFD') && !/[^\P{Cc}\t\r\n]/u.test(text);
  return (isText ? printableLines(text) : hexLines(shown)) + rest;
}

function hexLines(bytes: Buffer): string {
  const lines: string[] = [];
  for (let from = 0; from < bytes.length; from += 16) {
    const line = bytes.subarray(from, from + 16);
    const hex = line.toString('hex').replaceAll(/../g, '$& ').padEnd(48);
    const ascii = line.toString('latin1').replaceAll(/[^ -~]/g, '.');
    lines.push(`${from.toString(16).padStart(6, '0')}  ${hex} ${ascii}`);
  }
  return lines.join('\n');
}

function escape(code: number): string {
  return `\\u${code.toString(16).padStart(4, '0')}`;
}
