/**
 * Makes untrusted text safe for a terminal. Replaces control characters (also above 127), direction marks,
 * line separators and lone surrogates by `\uXXXX`. JSON keeps its meaning.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, index) => escape(character.charCodeAt(index))).join(''),
  );
}

/** As {@link printable}, but keeps line breaks. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/**
 * Formats bytes as text if they are text, otherwise as a hex dump of 16 bytes per line.
 *
 * @param limit - maximum number of bytes shown. The number of omitted bytes is appended.
 */
export function printableBytes(bytes: Buffer, limit = 4096): string {
  const shown = bytes.subarray(0, limit);
  const rest = bytes.length > limit ? `\n… and ${bytes.length - limit} bytes more` : '';
  const text = shown.toString();
  // Ignores the last character, which the limit may have cut.
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
