/** Whether the tests run in full size (`npm run test:crash`) or, as part of `npm test`, in a quick one. */
export const fullSize = process.env['MILLRACE_TEST_SIZE'] === 'full';

/** A number from an environment variable, or the size's own. */
export function sized(variable: string, { quick, full }: { quick: number; full: number }): number {
  const set = process.env[variable];
  return set === undefined || set === '' ? (fullSize ? full : quick) : Number(set);
}
