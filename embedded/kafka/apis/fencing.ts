import { ErrorCode } from '../protocol/error-codes.js';

/**
 * Returns the error code of a version: a producer with an older epoch is PRODUCER_FENCED if clients know that
 * code (KIP-588), and INVALID_PRODUCER_EPOCH in earlier versions.
 */
export function fencingCode(errorCode: number, knowsFenced: boolean): number {
  return errorCode === ErrorCode.INVALID_PRODUCER_EPOCH && knowsFenced
    ? ErrorCode.PRODUCER_FENCED
    : errorCode;
}
