import { type ConfirmChannel, IllegalOperationError, type Message, type Options } from 'amqplib';
import { messageOf } from '../../platform/errors.js';
import { Mutex } from '../../platform/mutex.js';
import type { RabbitConnection } from './connection.js';

/** A message to publish. */
export interface OutgoingMessage {
  /** Empty: the default exchange, where the routing key is a queue's name. */
  exchange: string;
  routingKey: string;
  content: Buffer;
  options: Options.Publish;
}

/** Messages that were not routed. */
export interface Published {
  /** Messages that matched no binding. */
  returned: Message[];
  /**
   * Messages that a queue rejected, such as a full one (`x-overflow: reject-publish`); other queues may have
   * accepted them.
   */
  refused: OutgoingMessage[];
  /** Messages that can never be sent. */
  invalid: { message: OutgoingMessage; problem: string }[];
}

/** Publishes messages and waits until RabbitMQ has confirmed them. */
export class Publisher {
  readonly #connection: RabbitConnection;
  readonly #onUnconfirmed: (count: number) => void;
  #channel: ConfirmChannel | undefined;
  #returned: Message[] = [];
  readonly #publishing = new Mutex();

  /**
   * @param onUnconfirmed - called with the change in the number of unconfirmed messages, which may be
   *   negative.
   */
  constructor(connection: RabbitConnection, onUnconfirmed: (count: number) => void) {
    this.#connection = connection;
    this.#onUnconfirmed = onUnconfirmed;
  }

  /**
   * Publishes messages. Resolves when all are confirmed or refused: confirmed ones, which are persistent, are
   * then on RabbitMQ's disk. Calls run one after the other. A refused message does not affect the others.
   *
   * @throws MillraceError `RABBITMQ_UNAVAILABLE`, retriable: some may have been published.
   */
  publish(messages: readonly OutgoingMessage[]): Promise<Published> {
    return this.#publishing.run(() => this.#publish(messages));
  }

  async #publish(messages: readonly OutgoingMessage[]): Promise<Published> {
    const published: Published = { returned: [], refused: [], invalid: [] };
    if (messages.length === 0) return published;
    const channel = this.#channel ?? (await this.#open());
    // A message is returned before it is confirmed.
    this.#returned = published.returned;
    this.#onUnconfirmed(messages.length);
    try {
      await Promise.all(
        messages.map(async (message) => {
          const problem = await sent(channel, message);
          if (problem === refusal) published.refused.push(message);
          else if (problem !== undefined) published.invalid.push({ message, problem });
        }),
      );
    } catch (error) {
      throw this.#connection.unavailable(error);
    } finally {
      this.#onUnconfirmed(-messages.length);
    }
    return published;
  }

  async #open(): Promise<ConfirmChannel> {
    const channel = await this.#connection.channel();
    channel.on('close', () => {
      if (this.#channel === channel) this.#channel = undefined;
    });
    channel.on('return', (message) => this.#returned.push(message));
    this.#channel = channel;
    return channel;
  }
}

/** amqplib's error for a message that RabbitMQ answered with `basic.nack`. */
const refusal = 'message nacked';

/** Resolves with the message's error, if any. @throws the channel's error. */
function sent(
  channel: ConfirmChannel,
  { exchange, routingKey, content, options }: OutgoingMessage,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    try {
      channel.publish(
        exchange,
        routingKey,
        content,
        { mandatory: true, persistent: true, ...options },
        (error?: Error | null) => {
          if (error === null || error === undefined) resolve(undefined);
          else if (error.message === refusal) resolve(refusal);
          else reject(error);
        },
      );
    } catch (error) {
      // amqplib encodes the whole message before it sends any part of it.
      if (error instanceof IllegalOperationError) reject(error);
      else resolve(messageOf(error));
    }
  });
}
