import type { ConsumeMessage, Options } from 'amqplib';
import { backoffMs } from '../../platform/backoff.js';
import { MillraceError } from '../../platform/errors.js';
import { reasonOf } from '../../processors/dead-letters/reasons.js';
import type { RabbitConnection } from './connection.js';
import { cutHeader, fitProperties } from './fit-properties.js';
import type { OutgoingMessage, Publisher } from './publisher.js';
import { isDeliveryHeader } from './redelivery.js';
import { deadLettersExchange, deadLettersQueue, ensureDeadLetters, ensureDelayQueue } from './topology.js';

/** A message that could not be ingested, and why. */
export interface FailedMessage {
  message: ConsumeMessage;
  reason: MillraceError;
}

/** Header of a retried message: the number of retries. */
const attemptsHeader = 'millrace-attempts';

const maxDelayMs = 600_000;

const maxDetailCharacters = 2_000;

/** Moves messages that could not be ingested to the dead-letter queue, or to a delay queue and back. */
export class FailedMessages {
  readonly #connection: RabbitConnection;
  readonly #publisher: Publisher;
  readonly #queue: string;
  readonly #firstDelayMs: number;
  #problem: string | undefined;

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
   * Puts messages into the dead-letter queue: original bytes and properties, the reason in headers. Messages
   * that the queue rejects because it is full are delayed and retried.
   *
   * @returns the messages to retry.
   * @throws MillraceError `RABBITMQ_UNAVAILABLE` or `RABBITMQ_REFUSED`, retriable.
   */
  async deadLetter(failed: readonly FailedMessage[]): Promise<ConsumeMessage[]> {
    if (failed.length === 0) return [];
    await ensureDeadLetters(this.#connection);
    const refused = await this.#publish(
      failed.map(({ message, reason }) => ({ message, marks: this.#marks(message, reason) })),
      () => ({ exchange: deadLettersExchange, routingKey: this.#queue }),
    );
    this.#problem = undefined;
    if (refused.length === 0) return [];
    this.#problem = `the queue ${deadLettersQueue} rejects messages, it may be full: ${refused.length} of ${this.#queue} wait to be put there`;
    await this.delay(refused);
    return refused;
  }

  /** Why the dead-letter queue rejected the last message; undefined if it accepted the message. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /**
   * Retries messages after a delay that doubles each time.
   *
   * @throws MillraceError `RABBITMQ_UNAVAILABLE` or `RABBITMQ_REFUSED`, retriable.
   */
  async delay(messages: readonly ConsumeMessage[]): Promise<void> {
    const queues = new Map<number, string>();
    for (const attempts of new Set(messages.map(attemptsOf))) {
      const delayMs = backoffMs(attempts, { firstMs: this.#firstDelayMs, maxMs: maxDelayMs });
      queues.set(attempts, await ensureDelayQueue(this.#connection, this.#queue, delayMs));
    }
    const refused = await this.#publish(
      messages.map((message) => ({ message, marks: { [attemptsHeader]: attemptsOf(message) + 1 } })),
      (message) => ({ exchange: '', routingKey: queues.get(attemptsOf(message)) ?? '' }),
    );
    if (refused.length === 0) return;
    const queue = [...queues.values()].join(', ');
    throw new MillraceError(
      'RABBITMQ_REFUSED',
      `${refused.length} messages can't wait in ${queue}: it rejects them. Look for a policy with a limit on it.`,
    );
  }

  /** @returns the messages that a queue rejected. */
  async #publish(
    copies: readonly Copy[],
    to: (message: ConsumeMessage) => Pick<OutgoingMessage, 'exchange' | 'routingKey'>,
  ): Promise<ConsumeMessage[]> {
    const { frameMax } = this.#connection;
    const outgoing = new Map<OutgoingMessage, Copy>();
    for (const copy of copies) {
      const { message, marks } = copy;
      const options = fitProperties(copyOf(message, marks), frameMax);
      outgoing.set({ ...to(message), content: message.content, options }, copy);
    }
    const { refused, invalid } = await this.#publisher.publish([...outgoing.keys()]);
    // The bytes are kept even if some properties can't be sent.
    const bare = new Map<OutgoingMessage, Copy>();
    for (const { message } of invalid) {
      const copy = outgoing.get(message);
      const headers = { ...copy?.marks, [cutHeader]: Object.keys(message.options.headers ?? {}).length };
      if (copy !== undefined) bare.set({ ...message, options: fitProperties({ headers }, frameMax) }, copy);
    }
    const again = await this.#publisher.publish([...bare.keys()]);
    return [...refused, ...again.refused].flatMap(
      (message) => outgoing.get(message)?.message ?? bare.get(message)?.message ?? [],
    );
  }

  #marks(message: ConsumeMessage, reason: MillraceError): Record<string, unknown> {
    return {
      'millrace-reason': reasonOf(reason),
      'millrace-detail': reason.message.slice(0, maxDetailCharacters),
      'millrace-queue': this.#queue,
      'millrace-exchange': message.fields.exchange,
      'millrace-routing-key': message.fields.routingKey,
      [attemptsHeader]: attemptsOf(message),
    };
  }
}

/** Copies a message for publishing, with headers that give the reason. */
interface Copy {
  message: ConsumeMessage;
  marks: Record<string, unknown>;
}

/** Returns how often a message was retried. */
export function attemptsOf({ properties }: ConsumeMessage): number {
  const attempts: unknown = properties.headers?.[attemptsHeader];
  return typeof attempts === 'number' && attempts > 0 ? attempts : 0;
}

/**
 * Returns the properties for publishing a message again. Properties that RabbitMQ acts on are kept in renamed
 * headers: an expiration would drop the message, CC and BCC would route copies of it, and a user id must be
 * the publisher's own.
 */
function copyOf({ properties }: ConsumeMessage, marks: Record<string, unknown>): Options.Publish {
  const { expiration, userId, headers, messageId, correlationId, replyTo, contentType, contentEncoding } =
    properties;
  const { type, appId, priority } = properties;
  const timestamp: unknown = properties.timestamp;
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (name === 'CC' || name === 'BCC') kept[`millrace-${name.toLowerCase()}`] = value;
    // With the `x-death` history of its delay queues, RabbitMQ would treat the message as cycling.
    else if (!isDeliveryHeader(name)) kept[name] = value;
  }
  if (expiration !== undefined) kept['millrace-expiration'] = expiration;
  if (userId !== undefined) kept['millrace-user-id'] = userId;
  // As text: a double can't hold it, and amqplib writes no other type.
  if (typeof timestamp === 'string') kept['millrace-timestamp'] = timestamp;
  const copied = {
    messageId,
    correlationId,
    replyTo,
    contentType,
    contentEncoding,
    type,
    appId,
    timestamp: typeof timestamp === 'number' ? timestamp : undefined,
  };
  const given = Object.entries({ ...copied, priority }).filter(([, value]) => value !== undefined);
  return { ...(Object.fromEntries(given) as Options.Publish), headers: { ...kept, ...marks } };
}
