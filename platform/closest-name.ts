/**
 * Returns the name most like a mistyped one; undefined if none is like it: at most a third of its letters may
 * differ.
 */
export function closestName(mistyped: string, names: readonly string[]): string | undefined {
  const most = Math.floor(mistyped.length / 3);
  const [best] = names
    .map((name) => ({ name, differences: differences(mistyped.toLowerCase(), name.toLowerCase()) }))
    .filter((candidate) => candidate.differences <= most)
    .toSorted((a, b) => a.differences - b.differences);
  return best?.name;
}

/** As a sentence to append to a message, with a space before it; empty if no name is like it. */
export function didYouMean(mistyped: string, names: readonly string[]): string {
  const name = closestName(mistyped, names);
  return name === undefined ? '' : ` Did you mean ${name}?`;
}

/** Returns how many letters must be inserted, removed or replaced (Levenshtein's distance). */
function differences(from: string, to: string): number {
  let above = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 0; row < from.length; row++) {
    const line = [row + 1];
    for (let column = 1; column <= to.length; column++) {
      const replaced = (above[column - 1] ?? 0) + (from[row] === to[column - 1] ? 0 : 1);
      line.push(Math.min(replaced, (above[column] ?? 0) + 1, (line[column - 1] ?? 0) + 1));
    }
    above = line;
  }
  return above.at(-1) ?? 0;
}
