import { MillraceError, messageOf } from '../../platform/errors.js';

/** AMQP reply code (such as 404 or 406) or system error code of what amqplib threw. */
export function codeOf(error: unknown): number | string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  const { code } = error;
  return typeof code === 'number' || typeof code === 'string' ? code : undefined;
}

/**
 * What RabbitMQ refused, with the setting that asked for it. Retriable: whoever runs RabbitMQ may mend it.
 *
 * @param what - such as `The queue scores`.
 */
export function refused(what: string, setting: string, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  const hint =
    codeOf(error) === 406
      ? ' It is there already with other properties or arguments: delete it there, or name another'
      : ' Check it, or name another';
  return new MillraceError(
    'RABBITMQ_REFUSED',
    `${what} can't be used: ${messageOf(error)}.${hint} in ${setting}.`,
    { retriable: true, cause: error },
  );
}
