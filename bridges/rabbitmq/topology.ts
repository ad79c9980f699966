import { hash } from 'node:crypto';
import type { Binding, ResultsQueue } from '../../platform/rabbitmq-settings.js';
import type { RabbitConnection } from './connection.js';
import { codeOf, ownName, refused } from './errors.js';
import { isShortText } from './fit-properties.js';

/** Topic exchange of predictions; the routing key is `<pipeline>.<model>.<label>`. */
export const predictionsExchange = 'millrace.predictions';

/**
 * Topic exchange of messages that can't be scored, and the queue that keeps them. The routing key is their
 * original queue.
 */
export const deadLettersExchange = 'millrace.dead-letters';
export const deadLettersQueue = 'millrace.dead-letters';

/** A binding in RabbitMQ's terms. */
export interface OwnBinding {
  queue: string;
  exchange: string;
  key: string;
  arguments: Record<string, unknown>;
}

/**
 * Argument of bindings that settings ask for. Exchanges ignore it. It distinguishes these bindings from
 * manual ones, even with the same key.
 */
const bindingMark = { 'x-millrace': 'setting' };

/**
 * Returns the binding that `RABBITMQ_BINDINGS` asks for; none to the default exchange, which is bound to
 * every queue by its name.
 */
export function bindingOf({ queue, exchange, routing_key: key, headers }: Binding): OwnBinding | undefined {
  if (exchange === '') return undefined;
  // Those modes of a headers exchange compare such arguments too.
  const mark = String(headers?.['x-match']).endsWith('with-x') ? {} : bindingMark;
  return { queue, exchange, key, arguments: { ...headers, ...mark } };
}

/** Returns the binding that `RABBITMQ_RESULTS_QUEUES` asks for. */
export function resultsBindingOf({ queue, pattern }: ResultsQueue): OwnBinding {
  return { queue, exchange: predictionsExchange, key: pattern, arguments: bindingMark };
}

/**
 * Ensures that a queue exists. An existing queue is used unchanged, whatever its arguments. Otherwise the
 * queue is declared as programs usually do, durable and without arguments, so that the next program's
 * declaration matches.
 */
export async function ensureQueue(
  connection: RabbitConnection,
  queue: string,
  setting: string,
): Promise<void> {
  try {
    const isThere = await exists(connection.use((channel) => channel.checkQueue(queue)));
    if (!isThere) await connection.use((channel) => channel.assertQueue(queue, { durable: true }));
  } catch (error) {
    throw refused(`The queue ${queue}`, setting, error);
  }
}

/**
 * Binds a queue to an exchange, which is declared if its type is given.
 *
 * @throws MillraceError `RABBITMQ_REFUSED`.
 */
export async function ensureBinding(connection: RabbitConnection, binding: Binding): Promise<void> {
  const own = bindingOf(binding);
  if (own === undefined) return;
  const { queue, exchange, type, durable } = binding;
  try {
    if (type === undefined) await connection.use((channel) => channel.checkExchange(exchange));
    else await ensureExchange(connection, exchange, type, durable);
    await bind(connection, own);
  } catch (error) {
    throw refused(`The exchange ${exchange} for the queue ${queue}`, 'RABBITMQ_BINDINGS', error);
  }
}

/**
 * Declares a queue for predictions and binds it to their exchange by its patterns.
 *
 * @throws MillraceError `RABBITMQ_REFUSED`.
 */
export async function ensureResultsQueue(
  connection: RabbitConnection,
  queue: string,
  patterns: readonly string[],
): Promise<void> {
  const setting = 'RABBITMQ_RESULTS_QUEUES';
  await ensureQueue(connection, queue, setting);
  try {
    for (const pattern of patterns) await bind(connection, resultsBindingOf({ queue, pattern }));
  } catch (error) {
    throw refused(`The queue ${queue}`, setting, error);
  }
}

/** Declares the exchange of predictions. */
export async function ensurePredictions(connection: RabbitConnection): Promise<void> {
  await ensureOwnExchange(connection, predictionsExchange);
}

/** Declares the exchange and the queue of messages that can't be scored. */
export async function ensureDeadLetters(connection: RabbitConnection): Promise<void> {
  await ensureOwnExchange(connection, deadLettersExchange);
  await ensureQueue(connection, deadLettersQueue, ownName);
  await connection.use((channel) => channel.bindQueue(deadLettersQueue, deadLettersExchange, '#'));
}

/** Removes a binding. A missing binding, queue or exchange counts as removed. */
export async function removeBinding(connection: RabbitConnection, binding: OwnBinding): Promise<void> {
  const { queue, exchange, key } = binding;
  await exists(connection.use((channel) => channel.unbindQueue(queue, exchange, key, binding.arguments)));
}

/**
 * Declares the queue in which messages of another queue wait for this delay before they return. Its name
 * contains the delay, so that other settings use other queues.
 */
export async function ensureDelayQueue(
  connection: RabbitConnection,
  queue: string,
  delayMs: number,
): Promise<string> {
  const named = `millrace.retry.${queue}.${delayMs}`;
  const name = isShortText(named) ? named : `millrace.retry.${hash('sha1', queue)}.${delayMs}`;
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

async function bind(connection: RabbitConnection, binding: OwnBinding): Promise<void> {
  const { queue, exchange, key } = binding;
  await connection.use((channel) => channel.bindQueue(queue, exchange, key, binding.arguments));
}

async function ensureOwnExchange(connection: RabbitConnection, exchange: string): Promise<void> {
  try {
    await ensureExchange(connection, exchange, 'topic', true);
  } catch (error) {
    throw refused(`The exchange ${exchange}`, ownName, error);
  }
}

/** An existing exchange is used unchanged if it has the type, which determines its routing. */
async function ensureExchange(
  connection: RabbitConnection,
  exchange: string,
  type: string,
  durable: boolean,
): Promise<void> {
  const isThere = await exists(connection.use((channel) => channel.checkExchange(exchange)));
  try {
    await connection.use((channel) => channel.assertExchange(exchange, type, { durable }));
  } catch (error) {
    // RabbitMQ compares the type first, then the other properties. 403: the exchange may be used, not
    // declared.
    const isOfType = codeOf(error) === 406 && !/inequivalent arg 'type'/.test(String(error));
    if (!isThere || !(isOfType || codeOf(error) === 403)) throw error;
  }
}

async function exists(asked: Promise<unknown>): Promise<boolean> {
  try {
    await asked;
    return true;
  } catch (error) {
    if (codeOf(error) === 404) return false;
    throw error;
  }
}
