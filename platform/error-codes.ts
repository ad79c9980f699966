/** What Millrace knows about an error code. */
interface ErrorKind {
  /** HTTP status; without one 503 where the error is retriable, else 500. */
  status?: number;
  /** Title of its problem details; required with a status. */
  title?: string;
  /** Whether the same call can succeed later with nothing changed but time, unless the error says otherwise. */
  retriable?: boolean;
  /** Only of a reason for dead letters: what is wrong with the record. Goes into docs/bad-input.md. */
  deadLetter?: string;
}

/**
 * Every error code of Millrace. Clients, dead letters, metrics and logs carry these names: never change one.
 *
 * HTTP statuses, titles, the codes in the OpenAPI document and the table of reasons in docs/bad-input.md come from here.
 */
const table = {
  // Anything
  INTERNAL: {
    status: 500,
    title: 'Internal error',
    deadLetter:
      'a RabbitMQ message that failed for a reason Millrace does not know, and was tried several times',
  },
  CONFIG_INVALID: {},
  TLS_FILES_INVALID: {},
  DATA_DIR_IN_USE: {},
  DATA_DIR_UNUSABLE: {},
  PORT_IN_USE: {},
  LISTEN_FAILED: {},
  STARTING: { retriable: true },
  NOT_READY: {},
  NOT_RUNNING: {},
  REDIS_UNAVAILABLE: { retriable: true },

  // Events
  JSON_INVALID: {
    status: 400,
    title: 'Malformed JSON',
    deadLetter: 'a value that begins as a JSON object and is none, is not UTF-8, or is JSON of another kind',
  },
  EVENT_INVALID: {
    status: 422,
    title: 'The event does not fit its contract',
    deadLetter: 'a field out of its range',
  },
  EVENT_ID_CONFLICT: {
    status: 422,
    title: 'The event id belongs to another event',
    deadLetter: 'a RabbitMQ message with the id of an event that has other fields',
  },
  FEATURES_INVALID: {
    status: 422,
    title: 'The event can’t be scored',
    deadLetter: 'the feature function failed, or made a number that no 32-bit float holds',
  },
  MODEL_FAILED: {
    status: 422,
    title: 'The event can’t be scored',
    deadLetter: 'the model fails on this event, and on no other in its batch',
  },
  OUTPUT_INVALID: {
    status: 422,
    title: 'The event can’t be scored',
    deadLetter: "the model's output is NaN or infinite",
  },
  SHADOW_LATE: {},

  // Records and their schemas
  UNDECODABLE: {
    deadLetter:
      'no Avro in wire format: garbage, cut off, bytes left over, no value, or a value that no field holds. ' +
      'Or a batch that can’t be read: damaged, not what its header says, more than 300,000 records',
  },
  UNENCODABLE: {},
  SCHEMA_UNKNOWN: { deadLetter: 'the registry has no schema with this id' },
  SCHEMA_INCOMPATIBLE: {
    deadLetter: 'no value of the schema it was written with is an event of this pipeline',
  },
  SCHEMA_INVALID: {},
  CONTRACT_INVALID: {},
  REGISTRY_UNAVAILABLE: { retriable: true },

  // The log
  RECORD_TOO_LARGE: {
    status: 413,
    title: 'The event is too large for the log',
    deadLetter: 'what would follow from the record, such as its prediction, is larger than its topic takes',
  },
  LOG_REFUSED: {
    status: 422,
    title: 'The log refuses the event',
    deadLetter: 'what would follow from the record is no valid record for its topic',
  },
  LOG_UNAUTHORIZED: { status: 503, title: 'The log can’t be written now' },
  LOG_UNAVAILABLE: {
    retriable: true,
    deadLetter: 'a RabbitMQ message that the log did not take, and that was tried several times',
  },
  LOG_BUSY: { retriable: true },
  LOG_CLOSED: {},
  LOG_DAMAGED: { retriable: true },
  LOG_FENCED: {},
  LOG_TIMEOUT: { retriable: true },
  TOPIC_MISSING: {},
  PROCESSING_TIMEOUT: { retriable: true },
  CODEC_FAILED: {},
  CODEC_READ_ONLY: {},

  // ClickHouse
  ANALYTICS_OPTIONS: {},
  CLICKHOUSE_BAD_ROWS: {
    deadLetter: 'a record that someone put on a topic of results and that fits no row',
  },
  CLICKHOUSE_REFUSED: {},
  CLICKHOUSE_UNAVAILABLE: { retriable: true },
  MIGRATION_CHANGED: {},
  ROW_INVALID: {
    deadLetter:
      'a prediction or outcome that someone put on a topic of results, with a time that can’t be stored',
  },

  // RabbitMQ
  QUEUE_IN_USE: { retriable: true },
  RABBITMQ_REFUSED: { retriable: true },
  RABBITMQ_UNAVAILABLE: { retriable: true },

  // Dead letters
  UNKNOWN: { deadLetter: 'a record that someone put on the dead-letter topic without these headers' },
  DEAD_LETTER_UNKNOWN: {},
  NOT_REDRIVABLE: {},

  // HTTP requests
  REQUEST_MALFORMED: { status: 400, title: 'Malformed HTTP request' },
  REQUEST_INVALID: { status: 400, title: 'Invalid request' },
  REQUEST_ABORTED: { status: 499, title: 'The client closed the connection' },
  REQUEST_TIMEOUT: { status: 503, title: 'The request timed out', retriable: true },
  BODY_EMPTY: { status: 400, title: 'No events' },
  BODY_TIMEOUT: { status: 408, title: 'The request body timed out' },
  BODY_TOO_LARGE: { status: 413, title: 'The request body is too large' },
  TOO_MANY_EVENTS: { status: 413, title: 'Too many events' },
  CONTENT_TYPE_UNSUPPORTED: { status: 415, title: 'Unsupported content type' },
  IDEMPOTENCY_KEY_INVALID: { status: 400, title: 'Invalid Idempotency-Key' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'The Idempotency-Key belongs to another file' },
  INFER_INVALID: { status: 400, title: 'Invalid inference request' },
  API_KEY_REQUIRED: { status: 401, title: 'A valid API key is required' },
  FORBIDDEN: { status: 403, title: 'Not allowed' },
  RATE_LIMITED: { status: 429, title: 'Too many requests', retriable: true },
  NOT_FOUND: { status: 404, title: 'No such route' },
  PIPELINE_UNKNOWN: { status: 404, title: 'No such pipeline' },
  PREDICTION_UNKNOWN: { status: 404, title: 'No such prediction' },

  // Files and jobs
  UPLOAD_BROKEN: { status: 400, title: 'Malformed multipart body' },
  FILE_MISSING: { status: 400, title: 'The request has no file' },
  FILE_TOO_LARGE: { status: 413, title: 'The file is too large' },
  FILE_INVALID: { status: 422, title: 'The file can’t be scored' },
  STORAGE_FULL: { status: 507, title: 'No space left for the file' },
  JOB_UNKNOWN: { status: 404, title: 'No such job' },
  JOB_NOT_DONE: { status: 409, title: 'The job is not done' },
  JOB_FAILED: { status: 409, title: 'The job failed' },
  JOB_FILE_MISSING: {},
  RESULT_GONE: { status: 410, title: 'The result was removed' },

  // Models
  MODEL_UNKNOWN: { status: 404, title: 'No such model' },
  MODEL_NOT_FOUND: { status: 404, title: 'No such model version' },
  MODEL_CONFLICT: { status: 409, title: 'The request conflicts with the state of the model' },
  UPLOAD_INVALID: { status: 400, title: 'Invalid upload of a model version' },
  MODEL_INVALID: { status: 422, title: 'Invalid model version' },
  MODEL_REFUSED: { status: 422, title: 'The model version is refused' },
  CANARY_SHARE_INVALID: { status: 422, title: 'Invalid canary share' },
  MODEL_DIGEST_MISMATCH: {},
  MODEL_NOT_REGISTERED: { retriable: true },
  MODEL_NOT_SERVED: {},
  MODEL_UNLOADED: {},
  MODEL_WORKER_DIED: { retriable: true },
  MODELS_DIR_UNUSABLE: {},
  ONNX_INVALID: {},
  MLFLOW_ANSWER_INVALID: {},
  MLFLOW_MODEL_UNFIT: {},
  MLFLOW_REFERENCE_INVALID: {},
  MLFLOW_REFUSED: {},
  MLFLOW_UNREACHABLE: { retriable: true },

  // Pipelines and schedules
  PIPELINE_INVALID: {},
  SCHEDULE_INVALID: {},

  // Commands
  API_ANSWER: {},
  API_UNREACHABLE: { retriable: true },
  COMMAND_UNKNOWN: {},
  FILE_UNREADABLE: {},
  KEY_INVALID: {},
  NOTHING_SELECTED: {},
  RAW_ON_TERMINAL: {},
  RESULT_NOT_SAVED: {},
  VERSION_FOLDER_UNREADABLE: {},

  // Embedded Kafka broker
  API_NOT_SERVED: {},
  BROKER_FAILED: {},
  FRAME_TOO_LARGE: {},
  LOG_APPEND_REFUSED: {},
  LOG_MISSING: {},
  LOG_UNREADABLE: {},
  MALFORMED_REQUEST: {},
  NOT_AUTHENTICATED: {},
  TLS_CERTIFICATE_UNUSABLE: {},

  // Embedded ClickHouse
  CHDB_CLOSED: {},
  CHDB_MISSING: {},
  CHDB_OPEN_FAILED: {},

  // Embedded schema registry, which answers with the statuses and numbers of Confluent's
  BAD_REQUEST: {},
  INCOMPATIBLE_SCHEMA: {},
  INVALID_LEVEL: {},
  INVALID_MODE: {},
  INVALID_SCHEMA: {},
  INVALID_VERSION: {},
  LEVEL_NOT_FOUND: {},
  MODE_NOT_FOUND: {},
  OPERATION_NOT_PERMITTED: {},
  REGISTRY_TAKEN_OVER: {},
  REGISTRY_UNSETTLED: { retriable: true },
  SCHEMA_NOT_FOUND: {},
  SUBJECT_NOT_FOUND: {},
  SUBJECT_NOT_SOFT_DELETED: {},
  SUBJECT_SOFT_DELETED: {},
  VERSION_NOT_FOUND: {},
  VERSION_NOT_SOFT_DELETED: {},
  VERSION_SOFT_DELETED: {},
} as const satisfies Record<string, ErrorKind>;

/** Stable, upper snake case, safe to branch on and to show to clients. */
export type ErrorCode = keyof typeof table;

/** The code of what a dead letter says is wrong with its record. */
export type DeadLetterReason = {
  [Code in ErrorCode]: (typeof table)[Code] extends { deadLetter: string } ? Code : never;
}[ErrorCode];

export const errorKinds: Readonly<Record<ErrorCode, ErrorKind>> = table;

export const errorCodes = Object.keys(table) as ErrorCode[];

/** Reasons for dead letters. */
export const deadLetterReasons = errorCodes.filter(isDeadLetterReason);

/** Whether a code that was read back is known here: it may be of a newer version. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(table, code);
}

export function isDeadLetterReason(code: ErrorCode): code is DeadLetterReason {
  return errorKinds[code].deadLetter !== undefined;
}

/** HTTP status of an error. @param retriable - default: as the code is without a word of the error itself. */
export function statusOf(code: ErrorCode, retriable = errorKinds[code].retriable): number {
  return errorKinds[code].status ?? (retriable ? 503 : 500);
}

/** The codes that a status may come with over HTTP. */
export function codesWithStatus(status: number): ErrorCode[] {
  return errorCodes.filter((code) => statusOf(code) === status);
}
