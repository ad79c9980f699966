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

/**
 * Checks that RabbitMQ is reachable, has the queues and exchanges, and grants the permissions of the bridge.
 */
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
    const isThere = await attempt(notes, { what: `Cannot use RabbitMQ at ${host}`, fix }, async () => {
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
    await checkPermissions(notes, model, vhost);
  } finally {
    await Promise.race([connecting.then((open) => open.close()).catch(() => undefined), timeout(1_000)]);
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
        notes.warn(
          `The queue ${queue} does not exist yet`,
          'Start `millrace bridge`: it declares the queue.',
        );
      else
        notes.error(
          `Cannot inspect the queue ${queue}: ${messageOf(state)}`,
          'Check the permissions below, and the queue in the management UI.',
        );
      continue;
    }
    const { messageCount, consumerCount } = state as { messageCount: number; consumerCount: number };
    const summary = `The queue ${queue} has ${messageCount} messages ready and ${consumerCount} consumers`;
    const kind = await queueKind((action) => use(model, action), queue);
    if (inbound.has(queue)) checkInbound(notes, { queue, summary, consumerCount, kind });
    else if (queue === deadLettersQueue && messageCount > 0)
      notes.warn(
        `${summary}: these messages could not be scored`,
        'Inspect them in the management UI. Once the cause is fixed, move them back with a shovel.',
      );
    else if (results.has(queue) && consumerCount === 0 && messageCount > 0)
      notes.warn(
        `${summary}: no consumer reads these results`,
        'Consume it, or remove it from RABBITMQ_RESULTS_QUEUES and delete it.',
      );
    else notes.ok(summary);
  }
}

interface InboundState {
  queue: string;
  summary: string;
  consumerCount: number;
  kind: QueueKind;
}

function checkInbound(notes: Notes, { queue, summary, consumerCount, kind }: InboundState): void {
  const given = kind.arguments ?? {};
  // RabbitMQ does not count the readers of a stream, and they do not compete for messages.
  if (kind.isStream)
    notes.ok(`The stream ${queue} exists (RabbitMQ does not report the number of its readers)`);
  else if (consumerCount === 0)
    notes.warn(
      `${summary}: no consumer reads it`,
      'Start `millrace bridge`. If it is running, /health/ready shows why it does not read the queue.',
    );
  else if (consumerCount > 1 && !kind.isSingle)
    notes.warn(
      `${summary}: other consumers take messages, which are not scored`,
      'Stop the other consumers, or give them separate queues.',
    );
  else notes.ok(summary);
  const hasDeadLetters = given['x-dead-letter-exchange'] !== undefined;
  const limit = given['x-delivery-limit'];
  if (kind.isQuorum && !hasDeadLetters && limit !== undefined)
    notes.warn(
      `RabbitMQ drops messages of the queue ${queue} after more than ${limit} deliveries`,
      'Declare it with an x-dead-letter-exchange, or without x-delivery-limit (-1 in RabbitMQ 4).',
    );
  else if (kind.isQuorum && !hasDeadLetters)
    notes.warn(
      `The quorum queue ${queue} has no x-dead-letter-exchange: with a delivery limit (20 by default in RabbitMQ 4), messages that return more often are dropped`,
      'Declare it with an x-dead-letter-exchange, or with x-delivery-limit -1 on RabbitMQ 4. A policy works too.',
    );
  if (given['x-max-length'] !== undefined || given['x-max-length-bytes'] !== undefined)
    notes.warn(
      `The queue ${queue} has a length limit: while it is full, RabbitMQ drops messages, including those requeued for a retry`,
      'Watch millrace_rabbitmq_queue_messages, or declare the queue without x-max-length.',
    );
}

/**
 * Checks permissions without leaving a trace: declares an exclusive queue that disappears with the
 * connection, and an exchange that it deletes, bound so that no message flows.
 */
async function checkPermissions(notes: Notes, model: ChannelModel, vhost: string): Promise<void> {
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
    // Binding requires write permission on the destination and read permission on the source.
    await may(`to write to the exchange ${exchange}`, async (channel) => {
      // Auto-delete removes the exchange with its last binding, so declare it again.
      await declare(channel);
      await channel.bindExchange(exchange, name, 'nothing');
      await channel.unbindExchange(exchange, name, 'nothing');
    });
  }
  await use(model, (channel) => channel.deleteExchange(name)).catch(() => undefined);
  await use(model, (channel) => channel.deleteQueue(name)).catch(() => undefined);
  if (allowed === 4)
    notes.ok(
      'RabbitMQ grants the permissions of the bridge (reading was not checked: it would consume messages)',
    );
}

/** Runs an operation on its own channel, because a refused operation closes the channel. */
async function use<T>(model: ChannelModel, action: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await model.createChannel();
  channel.on('error', () => undefined);
  try {
    return await action(channel);
  } finally {
    await channel.close().catch(() => undefined);
  }
}

function timeout(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
