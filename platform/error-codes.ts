/** Properties of an error code. */
interface ErrorKind {
  /** HTTP status; without one 503 where the error is retriable, else 500. */
  status?: number;
  /** Title of its problem details; required with a status. */
  title?: string;
  /** Whether time alone can make the same call succeed later, unless the error says otherwise. */
  retriable?: boolean;
  /** Only for a reason of dead letters: the defect of the record, as a sentence for docs/bad-input.md. */
  deadLetter?: string;
}

/**
 * Every error code of Millrace. Clients, dead letters, metrics and logs contain these names: never change
 * one.
 *
 * HTTP statuses, titles, the codes in the OpenAPI document and the table of reasons in docs/bad-input.md are
 * derived from them.
 */
const table = {
  // General
  INTERNAL: {
    status: 500,
    title: 'Internal error',
    deadLetter: 'An unexpected error came again with each attempt to take a RabbitMQ message.',
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
  THREAD_FAILED: {},

  // Events
  JSON_INVALID: {
    status: 400,
    title: 'Malformed JSON',
    deadLetter:
      'The value starts as a JSON object but is not valid JSON, is not UTF-8, or is JSON of another kind.',
  },
  EVENT_INVALID: {
    status: 422,
    title: 'The event does not fit its contract',
    deadLetter: 'The event does not fit its contract: a field is out of range, for example.',
  },
  EVENT_ID_CONFLICT: {
    status: 422,
    title: 'The event id belongs to another event',
    deadLetter: 'A RabbitMQ message has the id of an earlier event with other fields.',
  },
  FEATURES_INVALID: {
    status: 422,
    title: 'The event can’t be scored',
    deadLetter: 'The feature function failed, or returned a number that does not fit a 32-bit float.',
  },
  MODEL_FAILED: {
    status: 422,
    title: 'The event can’t be scored',
    deadLetter: 'The model fails on this event, and on no other event of its batch.',
  },
  OUTPUT_INVALID: {
    status: 422,
    title: 'The event can’t be scored',
    deadLetter: 'The output of the model is NaN or infinite.',
  },
  SHADOW_LATE: {},

  // Records and their schemas
  UNDECODABLE: {
    deadLetter:
      'The value is not Avro in wire format: it is garbage, truncated, too long or empty, or a field can’t hold ' +
      'its value. Or a whole batch can’t be read.',
  },
  UNENCODABLE: {},
  SCHEMA_UNKNOWN: { deadLetter: 'The schema registry has no schema with this id.' },
  SCHEMA_INCOMPATIBLE: {
    deadLetter: 'No value of the schema that the record was written with is an event of this pipeline.',
  },
  SCHEMA_INVALID: {},
  CONTRACT_INVALID: {},
  REGISTRY_UNAVAILABLE: { retriable: true },

  // The log
  RECORD_TOO_LARGE: {
    status: 413,
    title: 'The event is too large for the log',
    deadLetter: 'What follows from the record, such as its prediction, is larger than its topic allows.',
  },
  LOG_REFUSED: {
    status: 422,
    title: 'The log refuses the event',
    deadLetter: 'What follows from the record is not a valid record for its topic.',
  },
  LOG_UNAUTHORIZED: { status: 503, title: 'The log can’t be written now' },
  LOG_UNAVAILABLE: {
    retriable: true,
    deadLetter: 'The log did not take a RabbitMQ message with any of the attempts.',
  },
  LOG_BUSY: { retriable: true },
  LOG_CLOSED: {},
  LOG_DAMAGED: { retriable: true },
  LOG_FENCED: {},
  LOG_TIMEOUT: { retriable: true },
  TOPIC_MISSING: {},
  CODEC_FAILED: {},
  CODEC_READ_ONLY: {},

  // ClickHouse
  CLICKHOUSE_BAD_ROWS: {
    deadLetter: 'A record that another program wrote to a topic of results does not fit its table.',
  },
  CLICKHOUSE_REFUSED: {},
  CLICKHOUSE_UNAVAILABLE: { retriable: true },
  MIGRATION_CHANGED: {},
  ROW_INVALID: {
    deadLetter: 'A prediction or outcome that another program wrote has a time that can’t be stored.',
  },

  // RabbitMQ
  QUEUE_IN_USE: { retriable: true },
  RABBITMQ_REFUSED: { retriable: true },
  RABBITMQ_UNAVAILABLE: { retriable: true },

  // Dead letters
  UNKNOWN: {
    deadLetter: 'A record that another program wrote to the dead-letter topic has none of these headers.',
  },
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
  PIPELINE_DOWN: { status: 503, title: 'The pipeline is down', retriable: true },
  PROJECT_INVALID: {},
  PROJECT_EXISTS: {},
  SCHEDULE_INVALID: {},

  // Commands
  API_ANSWER: {},
  API_UNREACHABLE: { retriable: true },
  COMMAND_UNKNOWN: {},
  FILES_EXIST: {},
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

/** The codes whose entry has a member. */
export type ErrorCodeWith<Member extends keyof ErrorKind> = {
  [Code in ErrorCode]: Member extends keyof (typeof table)[Code] ? Code : never;
}[ErrorCode];

export const errorKinds: Readonly<Record<ErrorCode, ErrorKind>> = table;

export const errorCodes = Object.keys(table) as ErrorCode[];

/** Whether a code that was read is known here: it may be of a newer version. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(table, code);
}

/** Returns the HTTP status of an error. @param retriable - default: as for the code. */
export function statusOf(code: ErrorCode, retriable = errorKinds[code].retriable): number {
  return errorKinds[code].status ?? (retriable ? 503 : 500);
}
