/** Maximum number of characters of a key in a map. */
export const maxKeyLength = 1_000;

/** Returns what is wrong with a key of a map in an event; undefined if it is fine. */
export function keyProblem(key: string): string | undefined {
  if (key.length > maxKeyLength) return `must not have a key of more than ${maxKeyLength} characters`;
  // Many programs of JavaScript would change an object with it, and drop the value.
  if (key === '__proto__') return 'can’t be the key of a map';
  return key.isWellFormed() ? undefined : 'has half of a character (a lone surrogate) in its key';
}
