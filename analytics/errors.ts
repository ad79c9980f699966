import { MillraceError, messageOf } from '../platform/errors.js';
import { tlsAdvice } from '../platform/tls-problems.js';

// Numbers from ClickHouse's src/Common/ErrorCodes.cpp.

/** Transient errors of the server. */
const unavailableCodes = new Set([
  '159', // TIMEOUT_EXCEEDED
  '160', // TOO_SLOW
  '164', // READONLY
  '202', // TOO_MANY_SIMULTANEOUS_QUERIES
  '203', // NO_FREE_CONNECTION
  '209', // SOCKET_TIMEOUT
  '210', // NETWORK_ERROR
  '225', // NO_ZOOKEEPER
  '236', // ABORTED
  '241', // MEMORY_LIMIT_EXCEEDED
  '242', // TABLE_IS_READ_ONLY
  '243', // NOT_ENOUGH_SPACE
  '252', // TOO_MANY_PARTS
  '279', // ALL_CONNECTION_TRIES_FAILED
  '285', // TOO_FEW_LIVE_REPLICAS
  '319', // UNKNOWN_STATUS_OF_INSERT
  '394', // QUERY_WAS_CANCELLED
  '439', // CANNOT_SCHEDULE_TASK
  '473', // DEADLOCK_AVOIDED
  '745', // SERVER_OVERLOADED
  '999', // KEEPER_EXCEPTION
]);

/** Errors of the user or its privileges. */
const unauthorizedCodes = new Set([
  '192', // UNKNOWN_USER
  '193', // WRONG_PASSWORD
  '194', // REQUIRED_PASSWORD
  '497', // ACCESS_DENIED
  '516', // AUTHENTICATION_FAILED
]);

/** Errors of rows that do not fit the table. */
const badRowsCodes = new Set([
  '6', // CANNOT_PARSE_TEXT
  '25', // CANNOT_PARSE_ESCAPE_SEQUENCE
  '26', // CANNOT_PARSE_QUOTED_STRING
  '27', // CANNOT_PARSE_INPUT_ASSERTION_FAILED
  '33', // CANNOT_READ_ALL_DATA
  '38', // CANNOT_PARSE_DATE
  '41', // CANNOT_PARSE_DATETIME
  '53', // TYPE_MISMATCH
  '69', // ARGUMENT_OUT_OF_BOUND
  '70', // CANNOT_CONVERT_TYPE
  '72', // CANNOT_PARSE_NUMBER
  '117', // INCORRECT_DATA: unknown field, broken base64
  '130', // CANNOT_READ_ARRAY_FROM_TEXT
  '321', // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
  '349', // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
  '376', // CANNOT_PARSE_UUID
  '467', // CANNOT_PARSE_BOOL
]);

/**
 * Converts an error of the client or the engine to one of
 *
 * - `CLICKHOUSE_UNAVAILABLE`, retriable: unreachable, timeout, overloaded, read-only, out of memory or disk
 *   space;
 * - `CLICKHOUSE_BAD_ROWS`: the inserted rows don't fit the table;
 * - `CLICKHOUSE_REFUSED`: any other error (unknown table, wrong password), which an operator must fix.
 *
 * A {@link MillraceError} passes unchanged.
 *
 * @param task - the failed action, to follow "could not".
 */
export function translateError(error: unknown, task: string): MillraceError {
  if (error instanceof MillraceError) return error;
  const code = codeOf(error);
  const text = messageOf(error).slice(0, 1000);
  const cause = { cause: error };
  if (code === undefined) {
    // A bug, such as a value that is not valid JSON: a retry would fail again.
    if (error instanceof TypeError || error instanceof RangeError) {
      return new MillraceError('CLICKHOUSE_REFUSED', `Could not ${task}: ${text}`, cause);
    }
    const tls = tlsAdvice(error, 'CLICKHOUSE');
    const advice = tls ?? 'Check that it runs and that CLICKHOUSE_URL is right.';
    const message = `Could not ${task}: ClickHouse did not answer (${text}). ${advice}`;
    const misconfigured = tls !== undefined;
    return new MillraceError('CLICKHOUSE_UNAVAILABLE', message, { ...cause, misconfigured });
  }
  if (unavailableCodes.has(code)) {
    const message = `Could not ${task} now: ClickHouse answered code ${code}: ${text}`;
    return new MillraceError('CLICKHOUSE_UNAVAILABLE', message, cause);
  }
  if (badRowsCodes.has(code)) {
    const message = `Could not ${task}: a row does not fit the table, code ${code}: ${text}`;
    return new MillraceError('CLICKHOUSE_BAD_ROWS', message, cause);
  }
  const advice = unauthorizedCodes.has(code)
    ? ' Check CLICKHOUSE_USER, CLICKHOUSE_PASSWORD and the user’s grants.'
    : '';
  return new MillraceError(
    'CLICKHOUSE_REFUSED',
    `Could not ${task}: ClickHouse refused, code ${code}: ${text}${advice}`,
    { ...cause, misconfigured: advice !== '' },
  );
}

/**
 * Checks the shape: chdb throws a `ClickHouseError` of another copy of the class. Codes of socket errors are
 * not numeric.
 */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' && /^\d+$/.test(error.code) ? error.code : undefined;
}
