import { MillraceError, messageOf } from '../platform/errors.js';
import { tlsAdvice } from '../platform/tls-problems.js';

/** Details of a kafkajs error, through the wrappers of its retries. */
interface Facts {
  /** The protocol's error name, for example `MESSAGE_TOO_LARGE`. */
  type: string;
  /** The class of the innermost error. */
  name: string;
  /** Whether kafkajs threw it, or the code around it. */
  isKafkajs: boolean;
}

/** After one of these, an idempotent or transactional producer must be replaced. */
const fatalForProducer = new Set([
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'INVALID_PRODUCER_EPOCH',
  'INVALID_PRODUCER_ID_MAPPING',
  'PRODUCER_FENCED',
]);

/**
 * The broker refused one of the records, or all of them together: without it, or in parts, they may be
 * written.
 */
const badRecord = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
]);

/** The broker refused the content: the same request can't succeed, another may. */
const badRequest = new Set([
  ...badRecord,
  'INVALID_TOPIC_EXCEPTION',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
  'POLICY_VIOLATION',
  'INVALID_PARTITIONS',
  'INVALID_CONFIG',
  'INVALID_REPLICATION_FACTOR',
]);

/**
 * A leader returns these before it writes. (`NOT_LEADER_FOR_PARTITION` may come after: while it waited for
 * its replicas.)
 */
const unwritten = new Set(['UNKNOWN_TOPIC_OR_PARTITION', 'NOT_ENOUGH_REPLICAS']);

/**
 * Refusals of a coordinator that has done nothing, and will soon: it writes the markers of the last
 * transaction, or loads what it has to know. Apache Kafka's own client sends such a request again.
 */
export const coordinatorIsBusy: ReadonlySet<string> = new Set([
  'CONCURRENT_TRANSACTIONS',
  'GROUP_LOAD_IN_PROGRESS',
]);

/** Refusals of a broker that does not coordinate: another does. */
export const coordinatorMoved: ReadonlySet<string> = new Set([
  'NOT_COORDINATOR_FOR_GROUP',
  'GROUP_COORDINATOR_NOT_AVAILABLE',
]);

const unauthorized = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
]);

function factsOf(error: unknown): Facts {
  let current: unknown = error;
  let isKafkajs = false;
  for (let depth = 0; depth < 10 && current instanceof Error; depth++) {
    isKafkajs ||= current.name.startsWith('KafkaJS');
    if ('type' in current && typeof current.type === 'string')
      return { type: current.type, name: current.name, isKafkajs };
    if ('errors' in current && Array.isArray(current.errors) && current.errors.length > 0)
      current = current.errors[0];
    else if (current.cause instanceof Error && current.cause !== current) current = current.cause;
    else break;
  }
  const name = current instanceof Error ? current.name : '';
  return { type: '', name, isKafkajs };
}

/**
 * Returns the protocol's name of an error, for example `TOPIC_AUTHORIZATION_FAILED`; empty when it is none of
 * the protocol's.
 */
export function typeOf(error: unknown): string {
  return factsOf(error).type;
}

/** Makes kafkajs rejoin the group, which checks only the `type`. */
export class Rejoin extends Error {
  readonly type = 'REBALANCE_IN_PROGRESS';
}

/** Whether a retry is useless. An unavailable broker, or one that is no longer leader, may recover soon. */
export function isFinal(error: unknown): boolean {
  if (error instanceof MillraceError) return !error.retriable;
  return isBadRequest(error) || factsOf(error).name === 'KafkaJSSASLAuthenticationError';
}

/**
 * Whether time alone may resolve it. An error from neither Millrace nor kafkajs is a defect of the program,
 * and recurs with the same records.
 */
export function mayPass(error: unknown): boolean {
  if (!(error instanceof MillraceError) && !factsOf(error).isKafkajs) return false;
  return toMillraceError(error, '').retriable;
}

export function isFatalForProducer(error: unknown): boolean {
  return fatalForProducer.has(factsOf(error).type);
}

/**
 * Whether another producer with the same transactional id has taken over (or the broker gave up the
 * transaction).
 */
export function isFenced(error: unknown): boolean {
  const { type } = factsOf(error);
  return type === 'INVALID_PRODUCER_EPOCH' || type === 'PRODUCER_FENCED';
}

export function isBadRequest(error: unknown): boolean {
  const { type } = factsOf(error);
  return badRequest.has(type) || unauthorized.has(type);
}

/** Whether one record of a batch may be at fault; otherwise the topic is at fault, for any record. */
export function concernsRecord(error: unknown): boolean {
  return badRecord.has(factsOf(error).type);
}

/** Whether a broker with this answer has certainly not written the request. */
export function isUnwritten(error: unknown): boolean {
  return unwritten.has(factsOf(error).type);
}

/**
 * Translates a kafkajs error: `RECORD_TOO_LARGE`, `LOG_UNAUTHORIZED` and `LOG_REFUSED` are permanent,
 * `LOG_UNAVAILABLE` is retriable.
 *
 * @param what - the operation, as the start of the message.
 */
export function toMillraceError(error: unknown, what: string): MillraceError {
  if (error instanceof MillraceError) return error;
  const { type, name } = factsOf(error);
  const reason = messageOf(error);
  if (type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE')
    return new MillraceError(
      'RECORD_TOO_LARGE',
      `${what}: larger than the topic allows. Send less, or raise the topic's max.message.bytes. (${reason})`,
      { cause: error },
    );
  if (unauthorized.has(type) || name === 'KafkaJSSASLAuthenticationError')
    return new MillraceError(
      'LOG_UNAUTHORIZED',
      `${what}: the broker does not allow it. Check KAFKA_SASL_* and the broker's access lists. (${reason})`,
      { misconfigured: true, cause: error },
    );
  if (badRequest.has(type))
    return new MillraceError('LOG_REFUSED', `${what}: the broker refused it. (${reason})`, { cause: error });
  const tls = tlsAdvice(error, 'KAFKA');
  if (tls !== undefined)
    return new MillraceError('LOG_UNAVAILABLE', `${what}: TLS with the broker fails. ${tls} (${reason})`, {
      misconfigured: true,
      cause: error,
    });
  return new MillraceError(
    'LOG_UNAVAILABLE',
    `${what}: no answer from the log that would do. It is tried again; check that the brokers run. (${reason})`,
    { cause: error },
  );
}
