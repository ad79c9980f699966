/**
 * Counts the turns of the event loop: work that never yields has none. A timer would count fewer on a fast
 * machine.
 *
 * @returns a function that ends the count and returns it.
 */
export function countTurns(): () => number {
  let turns = 0;
  const count = (): void => {
    turns++;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  return () => {
    clearImmediate(next);
    return turns;
  };
}
