import { type ConfirmChannel, IllegalOperationError, type Message, type Options } from 'amqplib';
import { messageOf } from '../../platform/errors.js';
import { Mutex } from '../../platform/mutex.js';
import type { RabbitConnection } from './connection.js';

/** A message to be published. */
export interface OutgoingMessage {
  /** Empty: the default exchange, where the routing key is a queue's name. */
  exchange: string;
  routingKey: string;
  content: Buffer;
  options: Options.Publish;
}

/** The messages that were not routed. */
export interface Published {
  /** Those that went nowhere, as no queue is bound that takes them. */
  returned: Message[];
  /**
   * Those that a queue rejected, such as a full one (`x-overflow: reject-publish`); other queues may have
   * taken them.
   */
  refused: OutgoingMessage[];
  /** Those that can't be sent, whatever is done. */
  invalid: { message: OutgoingMessage; problem: string }[];
}

/** Publishes messages and waits until RabbitMQ has confirmed them. */
export class Publisher {
  readonly #connection: RabbitConnection;
  readonly #onUnconfirmed: (count: number) => void;
  #channel: ConfirmChannel | undefined;
  #returned: Message[] = [];
  readonly #publishing = new Mutex();

  /** @param onUnconfirmed - told how many more (or, negative, fewer) messages wait for their confirmation. */
  constructor(connection: RabbitConnection, onUnconfirmed: (count: number) => void) {
    this.#connection = connection;
    this.#onUnconfirmed = onUnconfirmed;
  }

  /**
   * Resolves when all are confirmed or refused: confirmed ones, as they are persistent, are then on
   * RabbitMQ's disk. Calls are done one after the other. What is wrong with one message does nothing to the
   * others.
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

/** Resolves with what is wrong with the message, if anything is. @throws what is wrong with the channel. */
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
      // It encodes all of a message before it sends anything of it.
      if (error instanceof IllegalOperationError) reject(error);
      else resolve(messageOf(error));
    }
  });
}
