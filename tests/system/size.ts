const size = process.env['MILLRACE_TEST_SIZE'];

/** Whether the tests run in full size (`npm run test:crash`) or, as part of `npm test`, in a quick one. */
export const fullSize = size === 'full';

/** Whether slow tests run at all: in full size, or with `MILLRACE_TEST_SIZE=all` in a quick one. */
export const runsAll = fullSize || size === 'all';

/** A number from an environment variable; the default depends on the size. */
export function sized(variable: string, { quick, full }: { quick: number; full: number }): number {
  const set = process.env[variable];
  return set === undefined || set === '' ? (fullSize ? full : quick) : Number(set);
}
