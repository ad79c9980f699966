import { type ConfirmChannel, connect, type ChannelModel, type GetMessage, type Options } from 'amqplib';

/** What a test does at RabbitMQ. */
export class RabbitClient {
  readonly #model: ChannelModel;
  readonly channel: ConfirmChannel;

  private constructor(model: ChannelModel, channel: ConfirmChannel) {
    this.#model = model;
    this.channel = channel;
  }

  static async connect(url: string): Promise<RabbitClient> {
    const model = await connect(url);
    // The server may be stopped before the client.
    model.on('error', () => undefined);
    return new RabbitClient(model, await model.createConfirmChannel());
  }

  /** Sends a body, text as it is and anything else as JSON, and waits until it is confirmed. */
  async send(
    body: unknown,
    options: Options.Publish & { exchange?: string; key?: string } = {},
  ): Promise<void> {
    const { exchange = '', key = 'alicpp_records', ...properties } = options;
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.channel.publish(exchange, key, Buffer.from(text), { persistent: true, ...properties });
    await this.channel.waitForConfirms();
  }

  /** Takes everything out of a queue. */
  async drain(queue: string): Promise<GetMessage[]> {
    const messages: GetMessage[] = [];
    for (;;) {
      const message = await this.channel.get(queue, { noAck: true });
      if (message === false) return messages;
      messages.push(message);
    }
  }

  async close(): Promise<void> {
    await this.#model.close().catch(() => undefined);
  }
}
