import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import { codeOf, refused } from './errors.js';
import type { QueueKind } from './queue-kind.js';
import { markPosition } from './redelivery.js';

export interface ConsumeOptions {
  queue: string;
  kind: QueueKind;
  /** Offset in the stream that was processed last. Unset: the stream is read from its beginning. */
  position: number | undefined;
  logger: Logger;
  /** Called with `null` when RabbitMQ cancels the consumer. */
  take: (message: ConsumeMessage | null) => void;
}

/**
 * Whether RabbitMQ distributes messages to several consumers, as at a quorum queue, which ignores
 * `exclusive`.
 */
export function isShareable({ isQuorum, isSingle }: QueueKind): boolean {
  return isQuorum && !isSingle;
}

/**
 * Starts to consume a queue as its only consumer.
 *
 * @returns the consumer's tag.
 * @throws MillraceError `QUEUE_IN_USE`, retriable, while another program reads the queue.
 */
export async function consumeQueue(
  channel: ConfirmChannel,
  { queue, kind, position, logger, take }: ConsumeOptions,
): Promise<string> {
  // A quorum queue ignores `exclusive`.
  if ((kind.isQuorum || kind.isSingle) && (await channel.checkQueue(queue)).consumerCount > 0)
    throw readByOther(queue);
  if (kind.arguments === undefined)
    logger.warn(
      'RabbitMQ does not tell how the queue was declared (its name is long, or the user may not configure it): it is read as a classic queue.',
    );
  warnOfLimit(kind, logger);
  const warn = deliveryWarnings(logger);
  const options = kind.isStream
    ? { arguments: { 'x-stream-offset': position === undefined ? 'first' : position + 1 } }
    : // RabbitMQ refuses `exclusive` with a single active consumer.
      { exclusive: !kind.isSingle };
  const onMessage = (message: ConsumeMessage | null): void => {
    if (message !== null && kind.isStream) markPosition(message);
    else if (message !== null) warn(message);
    take(message);
  };
  try {
    return (await channel.consume(queue, onMessage, options)).consumerTag;
  } catch (error) {
    if (codeOf(error) !== 403) throw error;
    // The other reason is that the user lacks the permission to read.
    const isInUse = /exclusive/.test(messageOf(error));
    throw isInUse ? readByOther(queue) : refused(`The queue ${queue}`, 'RABBITMQ_QUEUES', error);
  }
}

function readByOther(queue: string): MillraceError {
  return new MillraceError(
    'QUEUE_IN_USE',
    `Another program, or another copy of the bridge, reads the queue ${queue}. It is read here once that one has ended.`,
  );
}

function warnOfLimit({ arguments: given }: QueueKind, logger: Logger): void {
  const limit = given?.['x-delivery-limit'];
  if (limit === undefined || given?.['x-dead-letter-exchange'] !== undefined) return;
  logger.warn(
    `RabbitMQ throws messages of this queue away that it had to deliver more than ${limit} times (x-delivery-limit), as after crashes. Give it a dead-letter exchange, or no limit.`,
  );
}

/** Logs how often RabbitMQ delivered a message again, from the second time on. */
function deliveryWarnings(logger: Logger): (message: ConsumeMessage) => void {
  let most = 1;
  return ({ properties }) => {
    const count: unknown = properties.headers?.['x-delivery-count'];
    if (typeof count !== 'number' || count <= most) return;
    most = count;
    logger.warn(
      `RabbitMQ had to take messages back ${count} times. Where the queue has a delivery limit (20 by default in RabbitMQ 4), it throws them away or dead-letters them at that.`,
    );
  };
}
