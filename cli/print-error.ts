import { inspect } from 'node:util';
import { MillraceError } from '../platform/errors.js';
import { withoutSecrets } from '../platform/secrets.js';

/**
 * Prints an error to stderr: the message of a `MillraceError`, and any other error, which is a bug, with its
 * stack.
 */
export function printError(error: unknown): void {
  console.error(withoutSecrets(error instanceof MillraceError ? error.message : inspect(error)));
}
