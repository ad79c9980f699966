import { randomUUID } from 'node:crypto';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import {
  deadLettersExchange,
  deadLettersQueue,
  predictionsExchange,
} from '../../bridges/rabbitmq/topology.js';
import { type QueueKind, queueKind } from '../../bridges/rabbitmq/queue-kind.js';
import type { Config } from '../../platform/config.js';
import { messageOf } from '../../platform/errors.js';
import { parseQueueMappings, parseResultsQueues } from '../../platform/rabbitmq-settings.js';
import { tlsOptions } from '../../platform/tls-settings.js';
import { attempt, type Diagnosis, type Notes } from './diagnosis.js';

const minVersion = [3, 8] as const;

/** Whether RabbitMQ answers, has the queues and exchanges, and allows what the bridge does. */
export async function checkRabbitMq(diagnosis: Diagnosis, config: Config, url: string): Promise<void> {
  const notes = diagnosis.notes('rabbitmq');
  const { host, pathname } = new URL(url);
  const vhost = decodeURIComponent(pathname.slice(1)) || '/';
  let model: ChannelModel | undefined;
  const fix = `Check that it runs and RABBITMQ_URL is right. For a user without access: \`rabbitmqctl set_permissions -p '${vhost}' <user> '.*' '.*' '.*'\`.`;
  const connecting = connect(url, {
    ...(url.startsWith('amqps:') ? tlsOptions(config, 'RABBITMQ') : {}),
    timeout: 3_000,
    clientProperties: { connection_name: 'millrace-doctor' },
  });
  try {
    const isThere = await attempt(notes, { what: `RabbitMQ at ${host} can’t be used`, fix }, async () => {
      const startedAt = performance.now();
      model = await connecting;
      model.on('error', () => undefined);
      const { version } = model.connection.serverProperties;
      notes.ok(
        `RabbitMQ ${version} answers, connected to ${vhost} in ${Math.round(performance.now() - startedAt)} ms`,
      );
      const [major = 0, minor = 0] = version.split('.').map(Number);
      if (major < minVersion[0] || (major === minVersion[0] && minor < minVersion[1]))
        notes.error(`RabbitMQ ${version} is older than ${minVersion.join('.')}`, 'Upgrade RabbitMQ.');
    });
    if (!isThere || model === undefined) return;
    await checkQueues(notes, model, config);
    await checkRights(notes, model, vhost);
  } finally {
    await Promise.race([connecting.then((open) => open.close()).catch(() => undefined), later(1_000)]);
  }
}

async function checkQueues(notes: Notes, model: ChannelModel, config: Config): Promise<void> {
  const inbound = new Map(
    parseQueueMappings(config.RABBITMQ_QUEUES).map(({ queue, pipeline }) => [queue, pipeline]),
  );
  const results = new Set(parseResultsQueues(config.RABBITMQ_RESULTS_QUEUES).map(({ queue }) => queue));
  for (const queue of new Set([...inbound.keys(), ...results, deadLettersQueue])) {
    const state = await use(model, (channel) => channel.checkQueue(queue)).catch((error: unknown) => error);
    if (state instanceof Error) {
      if ('code' in state && state.code === 404)
        notes.warn(`There is no queue ${queue} yet`, 'Start `millrace bridge`: it declares it.');
      else
        notes.error(
          `The queue ${queue} can’t be looked at: ${messageOf(state)}`,
          'Look at the permissions below, and at the queue in the management UI.',
        );
      continue;
    }
    const { messageCount, consumerCount } = state as { messageCount: number; consumerCount: number };
    const is = `The queue ${queue} has ${messageCount} messages ready and ${consumerCount} consumers`;
    const kind = await queueKind((action) => use(model, action), queue);
    if (inbound.has(queue)) checkInbound(notes, { queue, is, consumerCount, kind });
    else if (queue === deadLettersQueue && messageCount > 0)
      notes.warn(
        `${is}: they could not be scored`,
        'Look at them in the management UI; move them back by a shovel once the cause is mended.',
      );
    else if (results.has(queue) && consumerCount === 0 && messageCount > 0)
      notes.warn(
        `${is}: nobody reads these results`,
        'Read it, or take it out of RABBITMQ_RESULTS_QUEUES and delete it.',
      );
    else notes.ok(is);
  }
}

interface InboundState {
  queue: string;
  is: string;
  consumerCount: number;
  kind: QueueKind;
}

function checkInbound(notes: Notes, { queue, is, consumerCount, kind }: InboundState): void {
  const given = kind.arguments ?? {};
  // Who reads a stream is not counted, and takes nothing from anybody.
  if (kind.isStream) notes.ok(`The stream ${queue} can be read; RabbitMQ does not tell by how many`);
  else if (consumerCount === 0)
    notes.warn(
      `${is}: nobody reads it`,
      'Start `millrace bridge`. If it runs, /health/ready says why it does not read the queue.',
    );
  else if (consumerCount > 1 && !kind.isSingle)
    notes.warn(
      `${is}: several readers share it, so not all of it is scored here`,
      'Stop the other readers, or give them queues of their own.',
    );
  else notes.ok(is);
  const hasDeadLetters = given['x-dead-letter-exchange'] !== undefined;
  const limit = given['x-delivery-limit'];
  if (kind.isQuorum && !hasDeadLetters && limit !== undefined)
    notes.warn(
      `RabbitMQ throws messages of the queue ${queue} away that it had to deliver more than ${limit} times`,
      'Declare it with an x-dead-letter-exchange, or without x-delivery-limit (-1 in RabbitMQ 4).',
    );
  else if (kind.isQuorum && !hasDeadLetters)
    notes.warn(
      `The quorum queue ${queue} has no x-dead-letter-exchange: with a delivery limit, as RabbitMQ 4 has of 20 by default, messages are thrown away that came back so often`,
      'Declare it with an x-dead-letter-exchange, or with x-delivery-limit -1 on RabbitMQ 4; a policy does as well.',
    );
  if (given['x-max-length'] !== undefined || given['x-max-length-bytes'] !== undefined)
    notes.warn(
      `The queue ${queue} has a length limit: while it is full, RabbitMQ drops messages, also those that return to be tried again`,
      'Watch millrace_rabbitmq_queue_messages, or declare the queue without x-max-length.',
    );
}

/**
 * Asks for rights by what leaves no trace: a queue that only this connection has and that goes with it, and an exchange
 * that it deletes, bound so that nothing can flow.
 */
async function checkRights(notes: Notes, model: ChannelModel, vhost: string): Promise<void> {
  const name = `millrace.doctor.${randomUUID()}`;
  const fix = `rabbitmqctl set_permissions -p '${vhost}' <user> '.*' '.*' '.*' (configure, write, read; \`^millrace\\.\` and the queues’ names are enough)`;
  let allowed = 0;
  const may = async (what: string, act: (channel: Channel) => Promise<unknown>): Promise<void> => {
    if (
      await attempt(notes, { what: `RabbitMQ does not allow ${what}`, fix }, () =>
        use(model, act).then(() => undefined),
      )
    )
      allowed++;
  };
  await may('to declare queues', (channel) =>
    channel.assertQueue(name, { exclusive: true, autoDelete: true }),
  );
  const declare = (channel: Channel) =>
    channel.assertExchange(name, 'topic', { durable: false, autoDelete: true });
  await may('to declare exchanges', declare);
  for (const exchange of [predictionsExchange, deadLettersExchange]) {
    const isThere = await use(model, (channel) => channel.checkExchange(exchange)).then(
      () => true,
      () => false,
    );
    if (!isThere) {
      allowed++;
      continue;
    }
    // Binding asks for the right to write to where messages would go, and to read where they would come from.
    await may(`to write to the exchange ${exchange}`, async (channel) => {
      // The end of its last binding is its own: each needs it anew.
      await declare(channel);
      await channel.bindExchange(exchange, name, 'nothing');
      await channel.unbindExchange(exchange, name, 'nothing');
    });
  }
  await use(model, (channel) => channel.deleteExchange(name)).catch(() => undefined);
  await use(model, (channel) => channel.deleteQueue(name)).catch(() => undefined);
  if (allowed === 4)
    notes.ok('RabbitMQ allows what the bridge does (reading a queue was not tried: it would take messages)');
}

/** A refused operation closes its channel, so each has its own. */
async function use<T>(model: ChannelModel, action: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await model.createChannel();
  channel.on('error', () => undefined);
  try {
    return await action(channel);
  } finally {
    await channel.close().catch(() => undefined);
  }
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
