import type { Attributes } from '@opentelemetry/api';
import type { Config } from '../config.js';
import type { Logger } from '../logger.js';
import type { TraceHeaders } from './trace-headers.js';

/** What takes time and is over at some moment. */
export interface Timed {
  /** @param error - why it failed, if it did. */
  end(error?: unknown): void;
}

/** What events come from: a request, a file job, a scheduled run. */
export interface Work extends Timed {
  readonly traceId: string;
  /** Of the work itself, for answers and for what follows from it without being sent by it. */
  readonly headers: TraceHeaders;
  /** @param name - in place of the one that it began with. */
  describe(attributes: Attributes, name?: string): void;
  /** The writing of events to a topic, from now on. */
  send(topic: string): Sending;
}

/** Events on their way to the log. */
export interface Sending extends Timed {
  /** What the record of the next event carries. */
  nextHeaders(): TraceHeaders;
}

/** The processing of one record or message that a trace is recorded of. */
export interface Processing extends Timed {
  describe(attributes: Attributes): void;
  /** The writing of what follows from it, from now until the processing ends; returns what that carries. */
  send(system: MessagingSystem, destination: string): TraceHeaders;
  /** What is processed is itself at fault. */
  fail(error: unknown): void;
  /** An attempt failed; another follows. */
  retry(error: unknown): void;
}

export type MessagingSystem = 'kafka' | 'rabbitmq';

/** A record or message that came. */
export interface Delivery {
  system: MessagingSystem;
  /** The topic, or the queue. */
  source: string;
  /** Consumer group; RabbitMQ has none. */
  group?: string;
  messageId: string | undefined;
  attributes: Attributes;
}

/** What is recorded of events on their way, while traces are on. */
export interface Traces {
  request(method: string, caller: TraceHeaders | undefined, attributes: Attributes): Work;
  /** What begins by itself, with a trace of its own. */
  begin(name: string, attributes: Attributes): Work;
  /**
   * @param sender - as the delivery carries it.
   * @param mayBegin - whether a delivery that belongs to no trace begins one.
   * @returns undefined when its trace is not recorded.
   */
  process(
    delivery: () => Delivery,
    sender: TraceHeaders | undefined,
    mayBegin: boolean,
  ): Processing | undefined;
  /** One insert of rows, in the trace of the first record that has one, linked with those of the others. */
  insert(table: string, rows: number, records: readonly Processing[]): Timed | undefined;
  /** Sends what is left, for two seconds at most. */
  stop(): Promise<void>;
}

let current: Traces | undefined;

/** Undefined while traces are off: then nothing of OpenTelemetry is even loaded. */
export function traces(): Traces | undefined {
  return current;
}

/**
 * Turns traces on for this process if `OTEL_EXPORTER_OTLP_ENDPOINT` asks for them.
 *
 * @param role - `millrace-<role>` is the service's name, unless `OTEL_SERVICE_NAME` says otherwise.
 */
export async function startTraces(
  config: Config,
  logger: Logger,
  role?: string,
): Promise<{ stop: () => Promise<void> }> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: disabled } = config;
  if (endpoint === undefined || disabled) return { stop: () => Promise.resolve() };
  const { OtelTraces } = await import('./otel-traces.js');
  const service = role === undefined ? 'millrace' : `millrace-${role}`;
  const started = OtelTraces.start(service, logger);
  current = started;
  return {
    stop: async () => {
      await started.stop();
      if (current === started) current = undefined;
    },
  };
}

/** Ends what is timed with a piece of work, and passes on what becomes of it. */
export function timed<T>(span: Timed | undefined, work: Promise<T>): Promise<T> {
  if (span === undefined) return work;
  return work.then(
    (result) => {
      span.end();
      return result;
    },
    (error: unknown) => {
      span.end(error);
      throw error;
    },
  );
}
