import type { Binding, ResultsQueue } from '../../platform/rabbitmq-settings.js';
import type { RabbitConnection } from './connection.js';
import { codeOf, refused } from './errors.js';

/** Topic exchange that predictions go to; the routing key is `<pipeline>.<model>.<label>`. */
export const predictionsExchange = 'millrace.predictions';

/** Topic exchange that messages which can't be scored go to, and the queue that keeps them. The routing key is the queue they came from. */
export const deadLettersExchange = 'millrace.dead-letters';
export const deadLettersQueue = 'millrace.dead-letters';

/**
 * Makes sure that a queue is there. One that is, whatever its arguments, is taken as it is; else it is declared as
 * programs usually do, durable and without arguments, so that whoever declares it next agrees.
 */
export async function ensureQueue(
  connection: RabbitConnection,
  queue: string,
  setting: string,
): Promise<void> {
  try {
    const exists = await connection
      .use((channel) => channel.checkQueue(queue))
      .then(
        () => true,
        (error: unknown) => {
          if (codeOf(error) === 404) return false;
          throw error;
        },
      );
    if (!exists) await connection.use((channel) => channel.assertQueue(queue, { durable: true }));
  } catch (error) {
    throw refused(`The queue ${queue}`, setting, error);
  }
}

/** Binds a queue to an exchange, which is declared where its type is given. @throws MillraceError `RABBITMQ_REFUSED`. */
export async function ensureBinding(connection: RabbitConnection, binding: Binding): Promise<void> {
  const { queue, exchange, type, durable, routing_key: key, headers } = binding;
  // Every queue is bound to the default exchange by its name, and can't be otherwise.
  if (exchange === '') return;
  try {
    await connection.use(async (channel) => {
      if (type === undefined) await channel.checkExchange(exchange);
      else await channel.assertExchange(exchange, type, { durable });
      await channel.bindQueue(queue, exchange, key, headers);
    });
  } catch (error) {
    throw refused(`The exchange ${exchange} for the queue ${queue}`, 'RABBITMQ_BINDINGS', error);
  }
}

/** The exchange of predictions and the queues that settings bind to it. */
export async function ensureResults(
  connection: RabbitConnection,
  queues: readonly ResultsQueue[],
): Promise<void> {
  await ensureTopicExchange(connection, predictionsExchange);
  for (const { queue, pattern } of queues) {
    await ensureQueue(connection, queue, 'RABBITMQ_RESULTS_QUEUES');
    await connection.use((channel) => channel.bindQueue(queue, predictionsExchange, pattern));
  }
}

/** Exchange and queue of messages that can't be scored. */
export async function ensureDeadLetters(connection: RabbitConnection): Promise<void> {
  await ensureTopicExchange(connection, deadLettersExchange);
  await ensureQueue(connection, deadLettersQueue, 'RABBITMQ_URL');
  await connection.use((channel) => channel.bindQueue(deadLettersQueue, deadLettersExchange, '#'));
}

/**
 * The queue in which messages of another wait for so long; then they return to it. Its name has the delay, so that other
 * settings need other queues.
 */
export async function ensureDelayQueue(
  connection: RabbitConnection,
  queue: string,
  delayMs: number,
): Promise<string> {
  const name = `millrace.retry.${queue}.${delayMs}`;
  const options = {
    durable: true,
    messageTtl: delayMs,
    deadLetterExchange: '',
    deadLetterRoutingKey: queue,
  };
  try {
    await connection.use((channel) => channel.assertQueue(name, options));
  } catch (error) {
    throw refused(`The delay queue ${name}`, 'RABBITMQ_QUEUES', error);
  }
  return name;
}

async function ensureTopicExchange(connection: RabbitConnection, exchange: string): Promise<void> {
  try {
    await connection.use((channel) => channel.assertExchange(exchange, 'topic', { durable: true }));
  } catch (error) {
    throw refused(`The exchange ${exchange}`, 'RABBITMQ_URL', error);
  }
}
