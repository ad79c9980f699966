import type { ConsumeMessage, Options } from 'amqplib';
import type { MillraceError } from '../../platform/errors.js';
import type { RabbitConnection } from './connection.js';
import type { Publisher } from './publisher.js';
import { deadLettersExchange, ensureDeadLetters, ensureDelayQueue } from './topology.js';

/** A message that could not be taken, and why. */
export interface FailedMessage {
  message: ConsumeMessage;
  reason: MillraceError;
}

/** Header of a message that is tried again: how often that was. */
const attemptsHeader = 'millrace-attempts';

const longestDelayMs = 600_000;

/** RabbitMQ takes headers of some kilobytes; amqplib of 64 at most. */
const keptDetail = 2_000;

/** Where messages of a queue go that could not be taken: to the dead-letter queue, or to a delay queue and back. */
export class FailedMessages {
  readonly #connection: RabbitConnection;
  readonly #publisher: Publisher;
  readonly #queue: string;
  readonly #firstDelayMs: number;

  constructor(
    connection: RabbitConnection,
    publisher: Publisher,
    queue: string,
    { firstDelayMs }: { firstDelayMs: number },
  ) {
    this.#connection = connection;
    this.#publisher = publisher;
    this.#queue = queue;
    this.#firstDelayMs = firstDelayMs;
  }

  /**
   * Puts messages in the dead-letter queue: bytes and properties as they came, the reason in headers.
   *
   * @throws MillraceError `RABBITMQ_UNAVAILABLE`, retriable.
   */
  async bury(failed: readonly FailedMessage[]): Promise<void> {
    if (failed.length === 0) return;
    await ensureDeadLetters(this.#connection);
    await this.#publisher.publish(
      failed.map(({ message, reason }) => ({
        exchange: deadLettersExchange,
        routingKey: this.#queue,
        content: message.content,
        options: copyOf(message, {
          'millrace-reason': reason.code,
          'millrace-detail': reason.message.slice(0, keptDetail),
          'millrace-queue': this.#queue,
          'millrace-exchange': message.fields.exchange,
          'millrace-routing-key': message.fields.routingKey,
          [attemptsHeader]: attemptsOf(message),
        }),
      })),
    );
  }

  /**
   * Lets messages come again after a delay that doubles each time.
   *
   * @throws MillraceError `RABBITMQ_UNAVAILABLE`, retriable.
   */
  async delay(messages: readonly ConsumeMessage[]): Promise<void> {
    const queues = new Map<number, string>();
    for (const attempts of new Set(messages.map(attemptsOf))) {
      const delayMs = Math.min(longestDelayMs, this.#firstDelayMs * 2 ** attempts);
      queues.set(attempts, await ensureDelayQueue(this.#connection, this.#queue, delayMs));
    }
    await this.#publisher.publish(
      messages.map((message) => {
        const attempts = attemptsOf(message);
        return {
          exchange: '',
          routingKey: queues.get(attempts) ?? '',
          content: message.content,
          options: copyOf(message, { [attemptsHeader]: attempts + 1 }),
        };
      }),
    );
  }
}

/** How often a message has been tried again. */
export function attemptsOf({ properties }: ConsumeMessage): number {
  const attempts: unknown = properties.headers?.[attemptsHeader];
  return typeof attempts === 'number' && attempts > 0 ? attempts : 0;
}

/**
 * The properties of a message to publish it again with. What RabbitMQ would act upon is kept in headers of other names: an
 * expiration would drop it, CC and BCC would route copies of it, and a user id must be the publisher's own.
 */
function copyOf({ properties }: ConsumeMessage, marks: Record<string, unknown>): Options.Publish {
  const { expiration, userId, headers, messageId, correlationId, replyTo, contentType, contentEncoding } =
    properties;
  const { timestamp, type, appId, priority } = properties;
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (name === 'CC' || name === 'BCC') kept[`millrace-${name.toLowerCase()}`] = value;
    // Of its way through delay queues: RabbitMQ would take it for a message that goes in circles.
    else if (name !== 'x-death' && !name.startsWith('x-first-death-') && !name.startsWith('x-last-death-'))
      kept[name] = value;
  }
  if (expiration !== undefined) kept['millrace-expiration'] = expiration;
  if (userId !== undefined) kept['millrace-user-id'] = userId;
  const copied = { messageId, correlationId, replyTo, contentType, contentEncoding, timestamp, type, appId };
  const given = Object.entries({ ...copied, priority }).filter(([, value]) => value !== undefined);
  return { ...(Object.fromEntries(given) as Options.Publish), headers: { ...kept, ...marks } };
}
