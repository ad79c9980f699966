import type { Context } from 'hono';
import { MillraceError } from '../platform/errors.js';
import { withoutSecrets } from '../platform/secrets.js';
import { NotWritten } from '../processors/events/accept-events.js';
import { type FieldError, InvalidEvent } from '../schemas/event-schema.js';
import { RateLimited } from './middleware/rate-limits.js';
import { workOf } from './middleware/trace-requests.js';

/** RFC 9457 problem details. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  /** Stable code to branch on; the end of `type` in upper snake case. */
  code: string;
  /** Every wrong field. */
  errors?: FieldError[];
  /** Of an event that has no place on the log as far as known: sent again under this id it is there once. */
  event_id?: string;
  /** Of the request, while traces are recorded. */
  trace_id?: string;
}

/** The one place where errors become HTTP statuses. A code that is not named here is 503 when it may pass, else 500. */
const statuses: Record<string, readonly [status: number, title: string]> = {
  JSON_INVALID: [400, 'Broken JSON'],
  BODY_EMPTY: [400, 'No events'],
  IDEMPOTENCY_KEY_INVALID: [400, 'No usable Idempotency-Key'],
  INFER_INVALID: [400, 'No valid inference request'],
  REQUEST_MALFORMED: [400, 'No valid HTTP'],
  REQUEST_ABORTED: [499, 'The client left'],
  BODY_TIMEOUT: [408, 'The body did not come in time'],
  UPLOAD_BROKEN: [400, 'Broken multipart body'],
  FILE_MISSING: [400, 'No file'],
  API_KEY_REQUIRED: [401, 'No valid API key'],
  FORBIDDEN: [403, 'Not allowed'],
  NOT_FOUND: [404, 'No such route'],
  PIPELINE_UNKNOWN: [404, 'No such pipeline'],
  MODEL_UNKNOWN: [404, 'No such model'],
  PREDICTION_UNKNOWN: [404, 'No such prediction'],
  JOB_UNKNOWN: [404, 'No such job'],
  JOB_NOT_DONE: [409, 'The job is not done'],
  JOB_FAILED: [409, 'The job failed'],
  RESULT_GONE: [410, 'The result was removed'],
  MODEL_NOT_FOUND: [404, 'No such model version'],
  MODEL_CONFLICT: [409, 'The models stand otherwise'],
  RECORD_TOO_LARGE: [413, 'The event is too large for the log'],
  BODY_TOO_LARGE: [413, 'Body too large'],
  TOO_MANY_EVENTS: [413, 'Too many events'],
  FILE_TOO_LARGE: [413, 'File too large'],
  CONTENT_TYPE_UNSUPPORTED: [415, 'Unsupported content type'],
  FILE_INVALID: [422, 'The file can’t be scored'],
  EVENT_INVALID: [422, 'The event does not fit its contract'],
  LOG_REFUSED: [422, 'The log refuses the event'],
  EVENT_ID_CONFLICT: [422, 'The id belongs to another event'],
  IDEMPOTENCY_KEY_REUSED: [422, 'The key belongs to another file'],
  FEATURES_INVALID: [422, 'The event can’t be scored'],
  MODEL_FAILED: [422, 'The event can’t be scored'],
  OUTPUT_INVALID: [422, 'The event can’t be scored'],
  MODEL_INVALID: [422, 'No usable model'],
  MODEL_REFUSED: [422, 'The model version is refused'],
  UPLOAD_INVALID: [400, 'No upload of a model version'],
  REQUEST_INVALID: [400, 'The request does not say what to do'],
  CANARY_SHARE_INVALID: [422, 'No share'],
  RATE_LIMITED: [429, 'Too many requests'],
  LOG_UNAUTHORIZED: [503, 'The log can’t be written now'],
  REQUEST_TIMEOUT: [503, 'Not done in time'],
  STORAGE_FULL: [507, 'No space for the file'],
};

/** What a client is told of an error. What is none of ours, or would help only us, stays in the log. */
export function toProblem(error: unknown): Problem {
  if (!(error instanceof MillraceError)) {
    return problem(
      500,
      'INTERNAL',
      'Internal error',
      'Something went wrong on our side. The log has the details.',
    );
  }
  const [status, title] =
    statuses[error.code] ?? (error.retriable ? [503, 'Not available now'] : [500, 'Internal error']);
  return {
    ...problem(status, error.code, title, withoutSecrets(error.message)),
    ...(error instanceof InvalidEvent ? { errors: error.fields } : {}),
    ...(error instanceof NotWritten ? { event_id: error.eventId } : {}),
  };
}

/**
 * Answers with a problem, below `/v2` in the form of that protocol; one that may pass says when to try again.
 *
 * @param more - members beside the problem's own.
 */
export function sendProblem(c: Context, error: unknown, more: object = {}): Response {
  const body = { ...toProblem(error), ...more };
  const isInference = /^\/v2(?:\/|$)/.test(c.req.path);
  const headers: Record<string, string> = {
    'content-type': isInference ? 'application/json' : 'application/problem+json',
  };
  if (body.status === 503) headers['retry-after'] = '1';
  if (error instanceof RateLimited) headers['retry-after'] = String(error.retryAfterSeconds);
  if (body.status === 401) headers['www-authenticate'] = 'Bearer';
  const work = workOf(c);
  const content = {
    ...(isInference ? { error: body.detail, code: body.code } : body),
    ...(work === undefined ? {} : { trace_id: work.traceId }),
  };
  return c.body(JSON.stringify(content), body.status as 500, headers);
}

function problem(status: number, code: string, title: string, detail: string): Problem {
  return {
    type: `urn:millrace:problem:${code.toLowerCase().replaceAll('_', '-')}`,
    title,
    status,
    detail,
    code,
  };
}
