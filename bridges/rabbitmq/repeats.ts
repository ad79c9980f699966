import { hash } from 'node:crypto';
import type { ConsumeMessage } from 'amqplib';

/**
 * What tells messages apart: 8 bytes, base64, of body, properties and how it was routed. RabbitMQ gives a message no
 * identity of its own that would last beyond a connection.
 */
export function digestOf({ content, fields, properties }: ConsumeMessage): string {
  const beside = JSON.stringify([fields.exchange, fields.routingKey, properties]);
  return hash('sha1', Buffer.concat([Buffer.from(beside), content]), 'base64').slice(0, 11);
}

/**
 * How many of the messages that RabbitMQ delivers once more, at the start of a session, are on the log.
 *
 * A queue keeps its order, and a batch is acknowledged as a whole: so what comes again begins with a batch that is on the
 * log, or with nothing of it; and once it has begun, everything that is on the log follows. Batches of one and the same
 * message say nothing about where it begins; they count as new, since doubling them is better than losing them.
 *
 * @param unsettled - batches on the log that RabbitMQ may not have taken the acknowledgement of, oldest first.
 * @param redelivered - the first messages of the session that are marked as delivered before.
 */
export function countRepeats(
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
