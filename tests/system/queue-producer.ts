import { randomUUID } from 'node:crypto';
import { connect } from 'amqplib';
import { packageRoot } from '../../platform/paths.js';
import { loadPipeline } from '../../processors/pipelines/load-pipelines.js';

/** A message as it was published. */
export interface QueuedMessage {
  fields: Record<string, number>;
  /** Its `message_id`, if it has one. */
  id?: string;
  /** Its `correlation_id`, if it wants a reply. */
  correlationId?: string;
}

export interface QueueProducerOptions {
  url: string;
  queue: string;
  /** Arguments of the queue. Default none. */
  arguments?: Record<string, unknown>;
  /** Reply queue. */
  replyTo: string;
  random: () => number;
}

/**
 * Publishes `credit-default` messages as programs with a queue do: durable queue without arguments,
 * persistent JSON with columns beyond the contract's. Every second message has a `message_id`, each tenth
 * asks for a reply. The number of a message is its `BILL_AMT1`, so that it can be identified anywhere.
 */
export class QueueProducer {
  readonly published: QueuedMessage[] = [];
  readonly #options: QueueProducerOptions;
  readonly #sample: (random: () => number) => object;

  private constructor(options: QueueProducerOptions, sample: (random: () => number) => object) {
    this.#options = options;
    this.#sample = sample;
  }

  static async create(options: QueueProducerOptions): Promise<QueueProducer> {
    const sample = (await loadPipeline(packageRoot, 'credit-default')).pipeline.sample;
    if (sample === undefined) throw new Error('credit-default makes no samples');
    return new QueueProducer(options, sample);
  }

  /**
   * Publishes this number of messages over a separate connection, and resolves when RabbitMQ has confirmed
   * all of them.
   */
  async publish(count: number): Promise<void> {
    const { url, queue, replyTo, arguments: options = {} } = this.#options;
    const connection = await connect(url);
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue(queue, { durable: true, arguments: options });
    await channel.assertQueue(replyTo, { durable: true });
    for (let n = 0; n < count; n++) {
      const message = this.#make(this.published.length);
      this.published.push(message);
      const body = { ID: this.published.length, ...message.fields, timestamp: new Date().toISOString() };
      channel.sendToQueue(queue, Buffer.from(JSON.stringify(body)), {
        persistent: true,
        contentType: 'application/json',
        ...(message.id === undefined ? {} : { messageId: message.id }),
        ...(message.correlationId === undefined ? {} : { correlationId: message.correlationId, replyTo }),
      });
    }
    await channel.waitForConfirms();
    await connection.close();
  }

  #make(number: number): QueuedMessage {
    return {
      fields: { ...this.#sample(this.#options.random), BILL_AMT1: number },
      ...(number % 2 === 0 ? { id: randomUUID() } : {}),
      ...(number % 10 < 1 ? { correlationId: `request-${number}` } : {}),
    };
  }
}

/** A message from an output queue. */
export interface QueuedResult {
  id: unknown;
  correlationId: unknown;
  body: Record<string, unknown>;
}

/** Takes all messages that are in a queue now. */
export async function drain(url: string, queue: string): Promise<QueuedResult[]> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  const { messageCount } = await channel.checkQueue(queue);
  const results: QueuedResult[] = [];
  await new Promise<void>((resolve, reject) => {
    if (messageCount === 0) resolve();
    channel.on('error', reject);
    channel
      .consume(queue, (message) => {
        if (message === null) return reject(new Error(`The queue ${queue} was deleted.`));
        // Later messages return to the queue when the connection ends.
        if (results.length === messageCount) return;
        const { messageId: id, correlationId }: { messageId?: unknown; correlationId?: unknown } =
          message.properties;
        const body = JSON.parse(message.content.toString()) as Record<string, unknown>;
        if (results.push({ id, correlationId, body }) < messageCount) return;
        channel.ack(message, true);
        resolve();
      })
      .catch(reject);
  });
  await channel.close();
  await connection.close();
  return results;
}
