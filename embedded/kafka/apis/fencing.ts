import { ErrorCode } from '../protocol/error-codes.js';

/**
 * The error code in the words of a version: a producer with an older epoch is PRODUCER_FENCED where clients
 * know that code (KIP-588), and INVALID_PRODUCER_EPOCH in the versions before.
 */
export function fencingCode(errorCode: number, knowsFenced: boolean): number {
  return errorCode === ErrorCode.INVALID_PRODUCER_EPOCH && knowsFenced
    ? ErrorCode.PRODUCER_FENCED
    : errorCode;
}
