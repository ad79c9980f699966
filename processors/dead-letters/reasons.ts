import { type ErrorCode, type ErrorCodeWith, errorCodes, errorKinds } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';

/**
 * The reason code of a dead letter: an error code with a `deadLetter` meaning in `platform/error-codes.ts`.
 */
export type DeadLetterReason = ErrorCodeWith<'deadLetter'>;

/** Every reason code, in the order of the table of error codes. */
export const deadLetterReasons = errorCodes.filter(isDeadLetterReason);

/** Returns a dead letter's reason: the code of the error, if readers of dead letters know it. */
export function reasonOf({ code }: MillraceError): DeadLetterReason {
  return isDeadLetterReason(code) ? code : 'INTERNAL';
}

/**
 * Converts an error into the reason of a dead letter.
 *
 * @throws the error itself if it is transient or a defect of Millrace: the record is not at fault then.
 */
export function asDeadLetterReason(error: unknown): MillraceError {
  if (error instanceof MillraceError && !error.retriable) return error;
  throw error;
}

function isDeadLetterReason(code: ErrorCode): code is DeadLetterReason {
  return errorKinds[code].deadLetter !== undefined;
}
