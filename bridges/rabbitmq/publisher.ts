import type { ConfirmChannel, Message, Options } from 'amqplib';
import { closeChannel, type RabbitConnection } from './connection.js';

/** A message to be published. */
export interface OutgoingMessage {
  /** Empty: the default exchange, where the routing key is a queue's name. */
  exchange: string;
  routingKey: string;
  content: Buffer;
  options: Options.Publish;
}

/** Publishes messages and waits until RabbitMQ has confirmed them. */
export class Publisher {
  readonly #connection: RabbitConnection;
  readonly #onUnconfirmed: (count: number) => void;
  #channel: ConfirmChannel | undefined;
  #returned: Message[] = [];
  #last: Promise<unknown> = Promise.resolve();

  /** @param onUnconfirmed - told how many more (or, negative, fewer) messages wait for their confirmation. */
  constructor(connection: RabbitConnection, onUnconfirmed: (count: number) => void) {
    this.#connection = connection;
    this.#onUnconfirmed = onUnconfirmed;
  }

  /**
   * Resolves when all are confirmed: persistent messages are then on RabbitMQ's disk. Calls are done one after the other.
   *
   * @returns those that went nowhere, as no queue is bound that takes them.
   * @throws MillraceError `RABBITMQ_UNAVAILABLE`, retriable: some may have been published.
   */
  publish(messages: readonly OutgoingMessage[]): Promise<Message[]> {
    const publishing = this.#last.then(() => this.#publish(messages));
    this.#last = publishing.catch(() => undefined);
    return publishing;
  }

  async close(): Promise<void> {
    if (this.#channel !== undefined) await closeChannel(this.#channel);
  }

  async #publish(messages: readonly OutgoingMessage[]): Promise<Message[]> {
    if (messages.length === 0) return [];
    const channel = this.#channel ?? (await this.#open());
    this.#returned = [];
    this.#onUnconfirmed(messages.length);
    try {
      await Promise.all(messages.map((message) => confirmed(channel, message)));
    } catch (error) {
      throw this.#connection.unavailable(error);
    } finally {
      this.#onUnconfirmed(-messages.length);
    }
    // A message is returned before it is confirmed.
    return this.#returned;
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

function confirmed(
  channel: ConfirmChannel,
  { exchange, routingKey, content, options }: OutgoingMessage,
): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.publish(
      exchange,
      routingKey,
      content,
      { mandatory: true, persistent: true, ...options },
      (error) => {
        if (error) reject(error as Error);
        else resolve();
      },
    );
  });
}
