import type { RequestBody } from '../openapi/describe.js';
import { headerParameter, logCodes } from '../openapi/describe.js';
import type { ErrorCode } from '../../platform/error-codes.js';
import { idempotencyKeySchema } from '../pipelines/schemas.js';

/** The multipart body of a file upload. */
export const uploadBody: RequestBody = {
  required: true,
  content: {
    'multipart/form-data': {
      schema: {
        type: 'object',
        required: ['file'],
        properties: {
          file: {
            type: 'string',
            format: 'binary',
            description: 'xlsx, csv or jsonl, with columns named as the fields of the event.',
          },
        },
      },
    },
  },
};

/** The header in the OpenAPI document. */
export const idempotencyKeyParameter = headerParameter(
  'Idempotency-Key',
  'A repeated request with the same key and file gets the job of the first.',
  idempotencyKeySchema,
);

/** Codes of every route that accepts a file. */
export const uploadCodes = [
  'UPLOAD_BROKEN',
  'FILE_MISSING',
  'FILE_TOO_LARGE',
  'FILE_INVALID',
  'IDEMPOTENCY_KEY_INVALID',
  'IDEMPOTENCY_KEY_REUSED',
  'CONTENT_TYPE_UNSUPPORTED',
  'BODY_TIMEOUT',
  'STORAGE_FULL',
  ...logCodes,
] as const satisfies ErrorCode[];

/** The header of an answer that names the job. */
export const locationHeader = {
  location: { schema: { type: 'string' as const }, description: 'Path of the job.' },
};
