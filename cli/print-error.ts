import { inspect } from 'node:util';
import { MillraceError } from '../platform/errors.js';
import { withoutSecrets } from '../platform/secrets.js';

/** Says on standard error what failed. An error of our own says what to do; any other is a defect, and its trace helps. */
export function printError(error: unknown): void {
  console.error(withoutSecrets(error instanceof MillraceError ? error.message : inspect(error)));
}
