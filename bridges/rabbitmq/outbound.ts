import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { problemOf } from '../../platform/problem.js';
import { readDeadLetter } from '../../processors/dead-letters/dead-letter.js';
import { deadLetterId } from '../../processors/events/ids.js';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import type { Contract } from '../../schemas/contracts.js';
import { pipelineTopics } from '../../streams/topics.js';
import { outputsOf, toPredictionRow } from '../../processors/scoring/prediction.js';
import { correlationIdHeader, replyToHeader } from '../../processors/events/envelope.js';
import { isResolution } from '../../processors/dead-letters/resolutions.js';
import type { Prediction } from '../../schemas/types.js';
import { type TraceHeaders, traceHeadersOf } from '../../platform/tracing/trace-headers.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { RabbitConnection } from './connection.js';
import { isShortText, shortText } from './fit-properties.js';
import type { OutgoingMessage, Published, Publisher } from './publisher.js';
import type { ResultsQueues } from './results-queues.js';
import { predictionsExchange } from './topology.js';

export interface OutboundOptions {
  pipelines: Pick<Pipelines, 'names'>;
  prediction: Pick<Contract, 'type'>;
  resultsQueues: ResultsQueues;
  connection: RabbitConnection;
  publisher: Publisher;
  serde: Serde;
  metrics: Metrics;
  logger: Logger;
}

/** Publishes predictions to the exchange, and replies to messages that asked for a reply. */
export class Outbound {
  readonly #options: OutboundOptions;
  readonly #byTopic = new Map<string, { name: string; isDeadLetter: boolean }>();
  /** The connection, by its start, on which exchange and queues are known to exist. */
  #preparedFor: number | undefined;

  constructor(options: OutboundOptions) {
    this.#options = options;
  }

  /** The topics to consume: those of the present pipelines. */
  get topics(): string[] {
    for (const name of this.#options.pipelines.names) {
      const { predictions, deadLetters } = pipelineTopics(name);
      this.#byTopic.set(predictions, { name, isDeadLetter: false });
      this.#byTopic.set(deadLetters, { name, isDeadLetter: true });
    }
    return [...this.#byTopic.keys()];
  }

  /** Ensures, once per connection, that exchange and queues exist. */
  async prepare(): Promise<void> {
    const { connection, resultsQueues } = this.#options;
    const { since } = connection.status();
    if (this.#preparedFor === since) return;
    await resultsQueues.ensure();
    this.#preparedFor = since;
  }

  /**
   * Resolves when RabbitMQ has confirmed all messages for the records. The same records may be passed again:
   * the messages then have the same ids.
   *
   * @throws MillraceError, retriable, when RabbitMQ or the registry is unavailable.
   */
  async publish(records: readonly StreamRecord[]): Promise<void> {
    const messages: OutgoingMessage[] = [];
    for (const record of records) messages.push(...(await this.#toMessages(record)));
    if (messages.length === 0) return;
    await this.prepare();
    try {
      const published = await this.#options.publisher.publish(messages);
      this.#count(messages, published);
      const isResult = ({ exchange }: OutgoingMessage): boolean => exchange === predictionsExchange;
      await this.#options.resultsQueues.note(messages.filter(isResult), published.refused.filter(isResult));
    } catch (error) {
      this.#preparedFor = undefined;
      throw error;
    }
  }

  /** Skips a record that can't be published: anyone may write records, with any content. */
  async #toMessages(record: StreamRecord): Promise<OutgoingMessage[]> {
    const pipeline = this.#byTopic.get(record.topic);
    if (pipeline === undefined) return [];
    try {
      if (pipeline.isDeadLetter) return refusals(record, pipeline.name);
      const { serde, prediction } = this.#options;
      return toMessages((await serde.decode(record.value, prediction.type)) as Prediction, record);
    } catch (error) {
      if (error instanceof MillraceError && error.retriable) throw error;
      const { topic, partition, offset } = record;
      this.#options.logger.warn({ err: error, topic, partition, offset }, 'a record can’t be published');
      return [];
    }
  }

  #count(messages: readonly OutgoingMessage[], { returned, refused, invalid }: Published): void {
    const { metrics, logger } = this.#options;
    for (const [kind, exchange] of [
      ['result', predictionsExchange],
      ['reply', ''],
    ] as const) {
      const of = (each: { exchange: string }): boolean => each.exchange === exchange;
      const all = messages.filter(of).length;
      const unroutable = returned.filter(({ fields }) => of(fields)).length;
      const rejected = refused.filter(of).length;
      const unfit = invalid.filter(({ message }) => of(message)).length;
      metrics.rabbitPublished.inc({ kind, outcome: 'routed' }, all - unroutable - rejected - unfit);
      metrics.rabbitPublished.inc({ kind, outcome: 'unroutable' }, unroutable);
      metrics.rabbitPublished.inc({ kind, outcome: 'invalid' }, unfit);
      // Results are retried.
      if (kind === 'reply') metrics.rabbitPublished.inc({ kind, outcome: 'refused' }, rejected);
    }
    for (const { message, problem } of invalid)
      logger.warn({ messageId: message.options.messageId, problem }, 'a message can’t be published');
  }
}

/** Returns the result of a prediction for the exchange, and the reply to the client that asked for it. */
function toMessages(prediction: Prediction, record: StreamRecord): OutgoingMessage[] {
  // A shadow's prediction is no reply.
  if (prediction.role === 'shadow') return [];
  const row = toPredictionRow(prediction);
  const body = { ...row, features: JSON.parse(row.features) as unknown, outputs: outputsOf(row) };
  const { pipeline, model, label, prediction_id: id, predicted_at: at } = prediction;
  const message = outgoing(record, id, 'millrace.prediction', at, body);
  const routingKey = [pipeline, model, label ?? 'none'].map(word).join('.');
  const result = {
    ...traced(record, message, predictionsExchange),
    exchange: predictionsExchange,
    routingKey,
  };
  return [result, ...reply(record, message)];
}

/** Returns the reply to an event that can't be scored: problem details, as over HTTP. */
function refusals(record: StreamRecord, pipeline: string): OutgoingMessage[] {
  if (isResolution(record)) return [];
  const deadLetter = readDeadLetter(record, pipeline);
  // A prediction that could not be stored was already sent as a reply.
  if (deadLetter.topic !== `${pipeline}.events` && !deadLetter.topic.startsWith('rabbitmq:')) return [];
  const body = { event_id: deadLetter.eventId, ...problemOf(deadLetter.reason, deadLetter.detail) };
  const message = outgoing(record, deadLetterId(deadLetter), 'millrace.problem', deadLetter.failedAt, body);
  return reply(record, message);
}

type Unrouted = Pick<OutgoingMessage, 'content' | 'options'>;

function outgoing(record: StreamRecord, messageId: string, type: string, at: number, body: object): Unrouted {
  const correlationId = record.headers[correlationIdHeader]?.toString();
  const seconds = Math.floor(at / 1000);
  return {
    content: Buffer.from(JSON.stringify(body)),
    options: {
      messageId: shortText(messageId),
      type,
      // AMQP has no times before 1970.
      ...(seconds >= 0 ? { timestamp: seconds } : {}),
      contentType: 'application/json',
      appId: 'millrace',
      // A longer correlation id can't come from AMQP.
      ...(correlationId !== undefined && isShortText(correlationId) ? { correlationId } : {}),
    },
  };
}

/** Returns a message that continues the trace of its record. */
function traced(record: StreamRecord, { content, options }: Unrouted, exchange: string): Unrouted {
  const headers: TraceHeaders | undefined =
    record.span?.send('rabbitmq', exchange) ?? traceHeadersOf(record.headers);
  return headers === undefined ? { content, options } : { content, options: { ...options, headers } };
}

function reply(record: StreamRecord, message: Unrouted): OutgoingMessage[] {
  const routingKey = record.headers[replyToHeader]?.toString() ?? '';
  if (routingKey === '' || !isShortText(routingKey)) return [];
  // RabbitMQ returns messages to a pseudo-queue of direct replies although it delivers them.
  const mandatory = !routingKey.startsWith('amq.rabbitmq.reply-to');
  const { content, options } = traced(record, message, 'amq.default');
  return [{ content, options: { ...options, mandatory }, exchange: '', routingKey }];
}

/**
 * Returns one word of a routing key. In patterns a dot ends a word, and `*` and `#` are wildcards. Three
 * words fit into 255 bytes.
 */
function word(text: string): string {
  return shortText(text.replaceAll(/[.*#\s]/g, '_'), 84);
}
