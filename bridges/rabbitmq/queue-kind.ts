import type { Channel } from 'amqplib';
import { codeOf } from './errors.js';

/** The properties of a queue that decide how it is read. */
export interface QueueKind {
  /** Arguments of its declaration, without those that policies add. Unset: RabbitMQ does not tell. */
  arguments: Readonly<Record<string, string | number | boolean>> | undefined;
  isQuorum: boolean;
  /** A stream keeps its messages: a reader says where it starts. */
  isStream: boolean;
  /** RabbitMQ itself allows one consumer at a time (`x-single-active-consumer`). */
  isSingle: boolean;
}

/** An argument that RabbitMQ compares when an existing queue is declared. */
const difference =
  /inequivalent arg '([^']+)' .*but current is (?:the value )?'(.*?)'(?: of type '(\w+)')?"?$/s;

/** More than RabbitMQ compares. */
const maxDifferences = 30;

/**
 * Finds out how a queue was declared. AMQP has no query for that, but RabbitMQ reports the first difference
 * to a client that declares the queue differently. So the queue is declared again until nothing differs,
 * which changes nothing.
 *
 * @param use - runs an operation on its own channel, since RabbitMQ closes the channel at a difference.
 */
export async function queueKind(
  use: (action: (channel: Channel) => Promise<unknown>) => Promise<unknown>,
  queue: string,
): Promise<QueueKind> {
  const found = await argumentsOf(use, queue);
  return {
    arguments: found,
    isQuorum: found?.['x-queue-type'] === 'quorum',
    isStream: found?.['x-queue-type'] === 'stream',
    isSingle: found?.['x-single-active-consumer'] === true,
  };
}

async function argumentsOf(
  use: (action: (channel: Channel) => Promise<unknown>) => Promise<unknown>,
  queue: string,
): Promise<QueueKind['arguments']> {
  const properties = { durable: true, exclusive: false, autoDelete: false };
  const found: Record<string, string | number | boolean> = {};
  for (let attempt = 0; attempt < maxDifferences; attempt++) {
    try {
      // The declaration must not create the queue if it was just deleted.
      await use(async (channel) => {
        await channel.checkQueue(queue);
        await channel.assertQueue(queue, { ...properties, arguments: { ...found } });
      });
      return found;
    } catch (error) {
      const [, name, value, type] = difference.exec(String(error)) ?? [];
      if (codeOf(error) !== 406 || name === undefined || value === undefined) return undefined;
      if (name === 'durable') properties.durable = value === 'true';
      else if (name === 'auto_delete') properties.autoDelete = value === 'true';
      else if (name === 'exclusive') properties.exclusive = value === 'true';
      else found[name] = toValue(value, type);
    }
  }
  return undefined;
}

function toValue(text: string, type: string | undefined): string | number | boolean {
  if (type === 'longstr') return text;
  return type === 'bool' ? text === 'true' : Number(text);
}
