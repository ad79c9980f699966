import { hash } from 'node:crypto';
import type { ConsumeMessage } from 'amqplib';

const ofDelivery = /^x-(delivery-count|acquired-count|death$|first-death-|last-death-|opt-)/;

/** Whether RabbitMQ itself sets a header about the delivery: `x-delivery-count`, `x-death` and others. */
export function isDeliveryHeader(header: string): boolean {
  return ofDelivery.test(header);
}

const positions = new WeakMap<ConsumeMessage, string>();

const positionMark = '@';

/** Notes the offset of a message from a stream, which serves as the message's digest. */
export function markPosition(message: ConsumeMessage): void {
  const offset: unknown = message.properties.headers?.['x-stream-offset'];
  if (typeof offset === 'number') positions.set(message, `${positionMark}${offset}`);
}

/** Returns the offset in a stream that a digest contains. */
export function positionOf(digest: string | undefined): number | undefined {
  return digest?.startsWith(positionMark) ? Number(digest.slice(positionMark.length)) : undefined;
}

/**
 * Returns a digest that tells messages apart: 8 bytes, base64, of the body, the routing and the properties.
 * RabbitMQ gives a message no identity beyond a connection.
 */
export function digestOf(message: ConsumeMessage): string {
  const position = positions.get(message);
  if (position !== undefined) return position;
  const { content, fields, properties } = message;
  const { messageId, correlationId, replyTo, timestamp, type, appId, userId } = properties;
  const { contentType, contentEncoding, priority, expiration, headers } = properties;
  const sent = Object.entries(headers ?? {})
    .filter(([name]) => !isDeliveryHeader(name))
    // RabbitMQ rewrites the table when it adds to it.
    .toSorted(([one], [other]) => (one < other ? -1 : 1));
  const beside = JSON.stringify([
    [fields.exchange, fields.routingKey],
    [messageId, correlationId, replyTo, timestamp, type, appId, userId],
    [contentType, contentEncoding, priority, expiration],
    sent,
  ]);
  return hash('sha1', Buffer.concat([Buffer.from(beside), content]), 'base64').slice(0, 11);
}

/**
 * Counts how many of the messages that RabbitMQ redelivers at the start of a session are on the log.
 *
 * A queue keeps its order, and a batch is acknowledged as a whole. So the redelivered messages begin with a
 * batch that is on the log, or with nothing of it; once such a batch has begun, everything that is on the log
 * follows. Batches of identical messages do not tell where a batch begins. They count as new, since a
 * duplicate is better than a loss.
 *
 * @param unsettled - batches on the log whose acknowledgement RabbitMQ may have missed, oldest first.
 * @param redelivered - the first messages of the session that are marked as redelivered.
 */
export function countRedelivered(
  unsettled: readonly (readonly string[])[],
  redelivered: readonly string[],
): number {
  for (let first = 0; first < unsettled.length; first++) {
    const expected = unsettled.slice(first).flat();
    if (expected.length > redelivered.length) continue;
    if (expected.length > 1 && new Set(expected).size === 1) continue;
    if (expected.every((digest, index) => digest === redelivered[index])) return expected.length;
  }
  return 0;
}
