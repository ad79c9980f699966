import type { ConsumeMessage } from 'amqplib';
import type { EventAcceptor } from '../../processors/events/accept-events.js';
import { MillraceError } from '../../platform/errors.js';
import type { Metrics } from '../../platform/metrics.js';
import { deadLetterRecord, shrinkDeadLetter } from '../../processors/dead-letters/dead-letter.js';
import { reasonOf } from '../../processors/dead-letters/reasons.js';
import { newEventId } from '../../processors/events/ids.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import { correlationIdHeader, type EventRecord, replyToHeader } from '../../processors/events/envelope.js';
import { pipelineTopics } from '../../streams/topics.js';
import { type NewRecord, sizeOf } from '../../streams/records.js';
import type { FailedMessage, FailedMessages } from './failed-messages.js';
import type { Ledger } from './ledger.js';
import { bodyReader, type ReadBody } from './message-body.js';
import { type ConsumerSpan, endAfter } from '../../platform/tracing/spans.js';
import { digestOf } from './redelivery.js';
import { endAll, type MessageSpans, senderOf, traceMessages } from './traced-messages.js';

/** Dead letters of larger messages are shrunk to fit the dead-letter topic. */
const maxDeadLetterBytes = 1_500_000;

export interface MessageIngestionOptions {
  queue: string;
  /** Name of the pipeline. */
  name: string;
  /** Returns the pipeline. @throws MillraceError `PIPELINE_DOWN`: then its messages wait in the queue. */
  pipeline: () => OpenPipeline;
  acceptor: EventAcceptor;
  failed: FailedMessages;
  metrics: Metrics;
}

/** Converts the messages of one queue into events. */
export class MessageIngestion {
  readonly #options: MessageIngestionOptions;
  /** For the present form of the pipeline. */
  #reader: { pipeline: OpenPipeline; read: ReadBody } | undefined;

  constructor(options: MessageIngestionOptions) {
    this.#options = options;
  }

  /**
   * Writes messages to the log: events, and dead letters of invalid messages, which also go to the
   * dead-letter queue.
   *
   * @param before - nothing is written until it resolves, and nothing at all when it rejects.
   * @throws MillraceError of the log and of RabbitMQ.
   */
  async publish(messages: readonly ConsumeMessage[], ledger: Ledger, before: Promise<void>): Promise<void> {
    const spans = traceMessages(messages, this.#options.queue);
    await endAfter(this.#publish(messages, ledger, before, spans), (error) => endAll(spans, error));
  }

  /** Gives messages up: moves them to the dead-letter queue and the dead-letter topic. */
  async deadLetter(failed: readonly FailedMessage[], ledger: Ledger): Promise<void> {
    const messages = failed.map(({ message }) => message);
    const reasons = failed.map(({ reason }) => reason);
    const spans = traceMessages(messages, this.#options.queue);
    await endAfter(this.#write(messages, reasons, ledger, spans), (error) => endAll(spans, error));
  }

  async #publish(
    messages: readonly ConsumeMessage[],
    ledger: Ledger,
    before: Promise<void>,
    spans: MessageSpans,
  ): Promise<void> {
    const { acceptor } = this.#options;
    const pipeline = this.#options.pipeline();
    const read = this.#readerOf(pipeline);
    const bodies = messages.map(({ content, properties }) => read(content, properties));
    const results = await acceptor.accept(pipeline, bodies, { source: 'millrace/rabbitmq' });
    await before;
    const outcomes = results.map((result) => (result instanceof MillraceError ? result : result.record));
    await this.#write(messages, outcomes, ledger, spans);
    acceptor.confirm(pipeline, results);
  }

  #readerOf(pipeline: OpenPipeline): ReadBody {
    if (this.#reader?.pipeline !== pipeline)
      this.#reader = { pipeline, read: bodyReader(pipeline.event.schema) };
    return this.#reader.read;
  }

  /** @param outcomes - for each message the record of its event, or why there is none. */
  async #write(
    messages: readonly ConsumeMessage[],
    outcomes: readonly (EventRecord | MillraceError)[],
    ledger: Ledger,
    spans: MessageSpans,
  ): Promise<void> {
    const { queue, failed, name, metrics } = this.#options;
    const records: NewRecord[] = [];
    const bad: FailedMessage[] = [];
    messages.forEach((message, index) => {
      const outcome = outcomes[index];
      if (outcome instanceof MillraceError) bad.push({ message, reason: outcome });
      else if (outcome !== undefined) {
        Object.assign(outcome.headers, headersOf(message), spans.get(message)?.send('kafka', outcome.topic));
        records.push(outcome);
      }
    });
    // First the queue, then the log: the log marks them as completed.
    const again = new Set(await failed.deadLetter(bad));
    const deadLettered = bad.filter(({ message }) => !again.has(message));
    records.push(...deadLettered.map((each) => this.#deadLetterRecord(each, spans.get(each.message))));
    await ledger.write(records, messages.map(digestOf));
    for (const { reason } of deadLettered)
      metrics.deadLetters.inc({ pipeline: name, reason: reasonOf(reason) });
    metrics.rabbitReceived.inc({ queue, outcome: 'event' }, messages.length - bad.length);
    metrics.rabbitReceived.inc({ queue, outcome: 'dead_letter' }, deadLettered.length);
    metrics.rabbitReceived.inc({ queue, outcome: 'retried' }, again.size);
  }

  #deadLetterRecord({ message, reason }: FailedMessage, span: ConsumerSpan | undefined): NewRecord {
    const { queue, name } = this.#options;
    const { content, properties } = message;
    const given: unknown = properties.messageId;
    const record = {
      topic: `rabbitmq:${queue}`,
      partition: -1,
      offset: -1,
      timestamp: Date.now(),
      key: null,
      value: content,
      headers: buffers(headersOf(message)),
      span,
    };
    const deadLetter = deadLetterRecord(pipelineTopics(name).deadLetters, name, record, reason, {
      now: Date.now(),
      schemaId: undefined,
      eventId: typeof given === 'string' && given !== '' ? given : newEventId(),
    });
    return sizeOf(deadLetter) > maxDeadLetterBytes ? shrinkDeadLetter(deadLetter) : deadLetter;
  }
}

/**
 * Headers of the event's record that come from a message's properties: trace, reply queue, correlation id.
 */
function headersOf(message: ConsumeMessage): Record<string, string> {
  const { replyTo, correlationId } = message.properties as { replyTo?: unknown; correlationId?: unknown };
  const carried: Record<string, string> = { ...senderOf(message) };
  if (typeof replyTo === 'string' && replyTo !== '') carried[replyToHeader] = replyTo;
  if (typeof correlationId === 'string' && correlationId !== '') carried[correlationIdHeader] = correlationId;
  return carried;
}

function buffers(headers: Record<string, string>): Record<string, Buffer> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]));
}
