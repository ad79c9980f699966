import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { Binding } from '../../platform/rabbitmq-settings.js';
import { backoff, pause } from '../../platform/backoff.js';
import type { Streams } from '../../streams/streams.js';
import { type BridgeStatus, closeChannel, type RabbitConnection } from './connection.js';
import { consumeQueue, isShareable } from './consume-queue.js';
import type { MessageIngestion } from './message-ingestion.js';
import { attemptsOf, type FailedMessages } from './failed-messages.js';
import { PrefetchBuffer } from './prefetch-buffer.js';
import { Ledger, type LedgerStates } from './ledger.js';
import { queueKind } from './queue-kind.js';
import { countRedelivered, digestOf } from './redelivery.js';
import { ensureBinding, ensureQueue } from './topology.js';

const fencedMs = 5_000;

export interface InboundQueueOptions {
  queue: string;
  bindings: readonly Binding[];
  connection: RabbitConnection;
  streams: Streams;
  states: LedgerStates;
  ingestion: Pick<MessageIngestion, 'publish' | 'deadLetter'>;
  failed: FailedMessages;
  /** Throws while no messages can be taken, because their pipeline is down. They wait in the queue then. */
  requireOpen?: () => void;
  /** Maximum number of unacknowledged messages that RabbitMQ delivers. */
  prefetch: number;
  /** Maximum number of retries of a message. */
  retryLimit: number;
  metrics: Metrics;
  logger: Logger;
}

/**
 * Reads one queue, and acknowledges messages once the log has acknowledged them. After any failure it starts
 * again, with backoff.
 */
export class InboundQueue {
  readonly #options: InboundQueueOptions;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  #status: BridgeStatus = { ok: false, since: Date.now(), problem: 'waiting for RabbitMQ' };
  /** Whether RabbitMQ would allow further readers of the queue. */
  #isShareable = false;
  #shared = false;

  constructor(options: InboundQueueOptions) {
    this.#options = options;
    this.#logger = options.logger.child({ queue: options.queue });
    this.#running = this.#run();
  }

  status(): BridgeStatus {
    const { queue, failed } = this.#options;
    const shared = `another program reads the quorum queue ${queue} too, and gets some of its messages. Stop it, or declare the queue with x-single-active-consumer`;
    const problem = this.#shared ? shared : failed.problem;
    if (problem === undefined || !this.#status.ok) return this.#status;
    return { ...this.#status, ok: false, problem };
  }

  /** Stops consuming and finishes the work in flight. Messages in the buffer return to the queue. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await this.#read(() => (attempt = 0));
      } catch (error) {
        if (!signal.aborted) this.#report(error);
        // Another copy reads the queue: wait, or neither makes progress.
        if (error instanceof MillraceError && error.code === 'LOG_FENCED') await pause(fencedMs, signal);
      }
      await backoff(attempt, { signal });
    }
  }

  /** One session: one channel, from the first message to the first failure. */
  async #read(onReading: () => void): Promise<void> {
    const { queue, bindings, connection, streams, states, prefetch } = this.#options;
    this.#options.requireOpen?.();
    // Nothing is read while the log can't be written.
    await streams.ping();
    await ensureQueue(connection, queue, 'RABBITMQ_QUEUES');
    for (const binding of bindings) await ensureBinding(connection, binding);
    const channel = await connection.channel();
    const ended = new AbortController();
    const end = (why: string): void => ended.abort(connection.unavailable(new Error(why)));
    channel.on('error', (error) => end(messageOf(error)));
    channel.on('close', () => end('its channel was closed'));
    const buffer = new PrefetchBuffer();
    const mine = AbortSignal.any([ended.signal, this.#stopping.signal]);
    let ledger: Ledger | undefined;
    try {
      await channel.prefetch(prefetch);
      const kind = await queueKind((action) => connection.use(action), queue);
      // The ledger's owner reads the stream; RabbitMQ allows any number of readers.
      if (kind.isStream) ledger = await Ledger.open(streams, states, queue, mine);
      this.#isShareable = isShareable(kind);
      const consumerTag = await consumeQueue(channel, {
        queue,
        kind,
        position: ledger?.position,
        logger: this.#logger,
        take: (message) => {
          if (message === null) end(`RabbitMQ ended the reading of ${queue}: it was deleted or moved`);
          else buffer.add(message);
        },
      });
      ledger ??= await Ledger.open(streams, states, queue, mine);
      if (!kind.isStream) await this.#acknowledgeRedelivered(channel, buffer, ledger, ended.signal);
      this.#report();
      onReading();
      const leave = async (): Promise<void> => void (await channel.cancel(consumerTag));
      await this.#work(channel, buffer, ledger, ended.signal, leave);
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      throw ended.signal.aborted ? ended.signal.reason : connection.unavailable(error);
    } finally {
      this.#shared = false;
      await ledger?.close();
      await closeChannel(channel);
    }
  }

  /** Acknowledges redelivered messages that are already on the log. */
  async #acknowledgeRedelivered(
    channel: ConfirmChannel,
    buffer: PrefetchBuffer,
    ledger: Ledger,
    ended: AbortSignal,
  ): Promise<void> {
    const { queue, metrics } = this.#options;
    await this.#whenRedelivered(channel, buffer, ledger.unsettled.flat().length, ended);
    const digests = buffer.redelivered().map(digestOf);
    const repeats = countRedelivered(ledger.unsettled, digests);
    ledger.begin(digests.slice(0, repeats));
    if (repeats === 0) return;
    this.#logger.info(
      { messages: repeats },
      'messages came again that are on the log; they are acknowledged',
    );
    metrics.rabbitReceived.inc({ queue, outcome: 'repeated' }, repeats);
    acknowledge(channel, buffer.take(repeats));
    await channel.checkQueue(queue);
    ledger.settle(ledger.unsettled.at(-1));
  }

  /** Resolves when this number of messages is delivered, or when no more messages from before can arrive. */
  async #whenRedelivered(
    channel: ConfirmChannel,
    buffer: PrefetchBuffer,
    count: number,
    ended: AbortSignal,
  ): Promise<void> {
    const { queue, prefetch } = this.#options;
    const enough = Math.min(count, prefetch);
    // RabbitMQ's answer that no more messages wait may overtake one delivery, but not two.
    for (let quiet = 0, seen = 0; quiet < 2; seen = buffer.length) {
      if (buffer.length >= enough || buffer.redelivered().length < buffer.length) return;
      const { messageCount } = await channel.checkQueue(queue);
      quiet = messageCount === 0 && buffer.length === seen ? quiet + 1 : 0;
      if (quiet === 0) await pause(10, ended);
      ended.throwIfAborted();
    }
  }

  async #work(
    channel: ConfirmChannel,
    buffer: PrefetchBuffer,
    ledger: Ledger,
    ended: AbortSignal,
    leave: () => Promise<void>,
  ): Promise<void> {
    const { queue, metrics } = this.#options;
    const stopping = this.#stopping.signal;
    const signal = AbortSignal.any([ended, stopping]);
    const settled = { last: Promise.resolve() };
    let before: Promise<void> = Promise.resolve();
    let left = false;
    // RabbitMQ counts a requeued message as a delivery, so all delivered messages are ingested before the
    // end.
    while (!ended.aborted && !(left && buffer.length === 0)) {
      if (stopping.aborted && !left) {
        await leave();
        left = true;
      }
      const batch = buffer.takeBatch();
      metrics.rabbitUnacknowledged.set({ queue }, batch.length + buffer.length);
      if (batch.length > 0) {
        // The next batch is prepared while the previous one is written.
        const ingesting = this.#ingest(channel, batch, ledger, before, settled);
        ingesting.catch(() => undefined);
        await before;
        before = ingesting;
        continue;
      }
      await before;
      if (buffer.length > 0) continue;
      await settled.last;
      await ledger.writeSettled();
      await buffer.whenSome(signal);
    }
    ended.throwIfAborted();
    await before;
    await settled.last;
    await ledger.writeSettled();
  }

  async #ingest(
    channel: ConfirmChannel,
    batch: readonly ConsumeMessage[],
    ledger: Ledger,
    before: Promise<void>,
    settled: { last: Promise<void> },
  ): Promise<void> {
    await this.#handle(batch, ledger, before);
    acknowledge(channel, batch);
    const last = ledger.unsettled.at(-1);
    // The queue answers after it has processed the acknowledgement.
    settled.last = this.#settle(channel, ledger, last);
    settled.last.catch(() => undefined);
  }

  async #settle(
    channel: ConfirmChannel,
    ledger: Ledger,
    batch: readonly string[] | undefined,
  ): Promise<void> {
    const { consumerCount } = await channel.checkQueue(this.#options.queue);
    ledger.settle(batch);
    this.#shared = this.#isShareable && consumerCount > 1;
  }

  /** Ingests messages so that they can be acknowledged. @throws an error that the messages did not cause. */
  async #handle(messages: readonly ConsumeMessage[], ledger: Ledger, before: Promise<void>): Promise<void> {
    try {
      await this.#options.ingestion.publish(messages, ledger, before);
    } catch (error) {
      await before;
      if (this.#stopping.signal.aborted) throw error;
      const known = error instanceof MillraceError ? error : undefined;
      // The log is available but does not accept the messages now.
      if (known?.code === 'LOG_UNAVAILABLE') return this.#retryLater(messages, known, ledger);
      if (known !== undefined && known.code !== 'RECORD_TOO_LARGE') throw known;
      if (messages.length > 1) {
        // One of the messages is at fault: find it by halving.
        const middle = messages.length >> 1;
        await this.#handle(messages.slice(0, middle), ledger, before);
        await this.#handle(messages.slice(middle), ledger, before);
        return;
      }
      this.#logger.error({ err: error }, 'a message could not be taken');
      if (known === undefined) await this.#retryLater(messages, unexpected(error), ledger);
      else
        await this.#options.ingestion.deadLetter(
          messages.map((message) => ({ message, reason: known })),
          ledger,
        );
    }
  }

  async #retryLater(
    messages: readonly ConsumeMessage[],
    reason: MillraceError,
    ledger: Ledger,
  ): Promise<void> {
    const { queue, failed, retryLimit, metrics, ingestion } = this.#options;
    const over = messages.filter((message) => attemptsOf(message) >= retryLimit);
    const again = messages.filter((message) => attemptsOf(message) < retryLimit);
    this.#logger.warn(
      { err: reason, again: again.length, over: over.length },
      'messages could not be taken now: they are tried again later, or are given up',
    );
    await failed.delay(again);
    metrics.rabbitReceived.inc({ queue, outcome: 'retried' }, again.length);
    ledger.note(again.map(digestOf));
    if (over.length === 0) return;
    const givenUp = over.map((message) => ({ message, reason }));
    try {
      await ingestion.deadLetter(givenUp, ledger);
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'LOG_UNAVAILABLE') throw error;
      // The messages are in the dead-letter queue; the dead-letter topic may be at fault.
      ledger.note(over.map(digestOf));
    }
  }

  #report(error?: unknown): void {
    const ok = error === undefined;
    const problem = ok ? undefined : messageOf(error);
    if (this.#status.ok === ok && this.#status.problem === problem) return;
    const since = this.#status.ok === ok ? this.#status.since : Date.now();
    this.#status = problem === undefined ? { ok, since } : { ok, since, problem };
    if (ok) this.#logger.info('reading the queue');
    // The connection reports its outage.
    else if (this.#options.connection.status().ok)
      this.#logger.warn(`The queue is not read: ${problem} Trying on.`);
  }
}

function acknowledge(channel: ConfirmChannel, batch: readonly ConsumeMessage[]): void {
  const last = batch.at(-1);
  if (last !== undefined) channel.ack(last, true);
}

function unexpected(error: unknown): MillraceError {
  return new MillraceError('INTERNAL', `It could not be taken: ${messageOf(error)}`, { cause: error });
}
