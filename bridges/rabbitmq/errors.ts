import { MillraceError, messageOf } from '../../platform/errors.js';

/** Returns the AMQP reply code (such as 404 or 406) or system error code of an amqplib error. */
export function codeOf(error: unknown): number | string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  const { code } = error;
  return typeof code === 'number' || typeof code === 'string' ? code : undefined;
}

/** Converts RabbitMQ's refusal into a MillraceError. */
export const ownName = 'RABBITMQ_URL (another vhost): the name is Millrace’s own';

/**
 * Converts RabbitMQ's refusal into an error that names the setting. Retriable: an operator may fix the cause.
 *
 * @param what - such as `The queue scores`.
 * @param setting - such as `RABBITMQ_QUEUES`, or `ownName`.
 */
export function refused(what: string, setting: string, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  const other = setting === ownName ? 'use another' : 'name another';
  const hint =
    codeOf(error) === 406
      ? ` It is there already with other properties or arguments: delete it there, or ${other}`
      : ` Check it and the permissions of RABBITMQ_URL's user, or ${other}`;
  return new MillraceError(
    'RABBITMQ_REFUSED',
    `${what} can't be used: ${messageOf(error)}.${hint} in ${setting}.`,
    { cause: error },
  );
}

/**
 * Whether the error concerns one queue, exchange or message and not the connection: RabbitMQ gave a reason.
 */
export function isOwnFault(error: unknown): boolean {
  return error instanceof MillraceError && typeof codeOf(error.cause) === 'number';
}
