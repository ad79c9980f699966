import { errorKinds, isErrorCode, statusOf } from './error-codes.js';
import { MillraceError } from './errors.js';
import { withoutSecrets } from './secrets.js';

/** Problem details (RFC 9457): an error as clients see it, over HTTP and RabbitMQ. */
export interface Problem {
  type: string;
  title: string;
  /** HTTP status. */
  status: number;
  detail: string;
  /** Stable code to branch on; the end of `type` in upper snake case. */
  code: string;
  /** Every wrong field. */
  errors?: { field: string; problem: string }[];
  /** Id of an event that is not known to be on the log: sent again under this id it is there once. */
  event_id?: string;
  /** Of the request, while traces are recorded. */
  trace_id?: string;
}

/** Returns the problem details of an error. One that Millrace did not throw on purpose stays in the log. */
export function toProblem(error: unknown): Problem {
  if (!(error instanceof MillraceError))
    return problemOf('INTERNAL', 'Something went wrong on our side. The log has the details.');
  return { ...problemOf(error.code, error.message, error.retriable), ...error.members };
}

/**
 * @param code - one that was read may be of a newer version: it is an internal error then.
 * @param retriable - default: as for the code.
 */
export function problemOf(code: string, detail: string, retriable?: boolean): Problem {
  const known = isErrorCode(code) ? code : 'INTERNAL';
  const status = statusOf(known, retriable);
  return {
    type: `urn:millrace:problem:${code.toLowerCase().replaceAll('_', '-')}`,
    title: errorKinds[known].title ?? (status === 503 ? 'Temporarily unavailable' : 'Internal error'),
    status,
    detail: withoutSecrets(detail),
    code,
  };
}
