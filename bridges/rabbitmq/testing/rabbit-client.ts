import { type ConfirmChannel, connect, type ChannelModel, type GetMessage, type Options } from 'amqplib';

interface Wire {
  sendBytes(bytes: Buffer): void;
}

/** A test's RabbitMQ client. */
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

  /** Sends a body, text unchanged and anything else as JSON, and waits for the confirm. */
  async send(
    body: unknown,
    options: Options.Publish & { exchange?: string; key?: string } = {},
  ): Promise<void> {
    const { exchange = '', key = 'alicpp_records', ...properties } = options;
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.channel.publish(exchange, key, Buffer.from(text), { persistent: true, ...properties });
    await this.channel.waitForConfirms();
  }

  /**
   * Sends a message with headers that amqplib can't write.
   *
   * @param table - the fields as they go over the wire, without the length before them.
   */
  async sendTable(body: string, table: Buffer, key = 'alicpp_records'): Promise<void> {
    const channel = await this.#model.createChannel();
    const { connection, ch } = channel as unknown as { connection: Wire; ch: number };
    const short = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
    const publish = Buffer.concat([Buffer.from([0, 60, 0, 40, 0, 0, 0]), short(key), Buffer.from([0])]);
    const properties = Buffer.alloc(18);
    properties.writeUInt16BE(60, 0);
    properties.writeBigUInt64BE(BigInt(body.length), 4);
    properties.writeUInt16BE(0x2000, 12);
    properties.writeUInt32BE(table.length, 14);
    const frames = [
      [1, publish],
      [2, Buffer.concat([properties, table])],
      [3, Buffer.from(body)],
    ] as const;
    for (const [type, payload] of frames) {
      const start = Buffer.alloc(7);
      start.writeUInt8(type);
      start.writeUInt16BE(ch, 1);
      start.writeUInt32BE(payload.length, 3);
      connection.sendBytes(Buffer.concat([start, payload, Buffer.from([206])]));
    }
    // RabbitMQ answers once it has processed the earlier commands.
    await channel.close();
  }

  /** Removes all messages from a queue. */
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
