import {
  type Attributes,
  type Context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
} from '@opentelemetry/api';
import { MillraceError } from '../errors.js';
import { withoutSecrets } from '../secrets.js';
import { headersOf, isSampled, type TraceHeaders } from './trace-headers.js';
import { tracer } from './traces.js';

export type MessagingSystem = 'kafka' | 'rabbitmq';

/** Events of one request, file or run that are recorded. A trace with thousands is unreadable. */
const maxEvents = 100;
/** The number of events sent so far, by the span of their request, file or run. */
const eventsSent = new WeakMap<Span, number>();

/** The span of processing one record or message. The spans of sending its outputs end with it. */
export class ConsumerSpan {
  readonly span: Span;
  #sends: Span[] = [];
  #fault: unknown;

  private constructor(span: Span) {
    this.span = span;
  }

  /**
   * @param source - the topic or queue.
   * @param sender - trace headers of the record or message.
   * @param mayBegin - whether to start a new trace if there is no sender.
   * @param attributes - called only for a span that is recorded.
   * @returns undefined if the trace is not recorded.
   */
  static start(
    { system, source }: { system: MessagingSystem; source: string },
    { sender, mayBegin }: { sender: TraceHeaders | undefined; mayBegin: boolean },
    attributes: () => Attributes,
  ): ConsumerSpan | undefined {
    if (sender === undefined ? !mayBegin : !isSampled(sender.traceparent)) return undefined;
    const parent = propagation.extract(ROOT_CONTEXT, sender ?? {});
    const span = tracer().startSpan(`process ${source}`, { kind: SpanKind.CONSUMER }, parent);
    if (!span.isRecording()) return undefined;
    span.setAttributes({ ...messaging(system, source, 'process'), ...attributes() });
    return new ConsumerSpan(span);
  }

  setAttributes(attributes: Attributes): void {
    this.span.setAttributes(attributes);
  }

  /** Starts the span of sending an output. @returns the headers of the output. */
  send(system: MessagingSystem, destination: string): TraceHeaders {
    const span = startSend(this.span, system, destination);
    this.#sends.push(span);
    return headersOf(span.spanContext());
  }

  /** The record itself is at fault: its span ends with this error. */
  fail(error: unknown): void {
    this.#fault = error;
  }

  /** An attempt failed, another follows. */
  retry(error: unknown): void {
    this.span.addEvent('retry', errorAttributes(error));
    this.#endSends(error);
    this.#fault = undefined;
  }

  end(error?: unknown): void {
    this.#endSends(error);
    endSpan(this.span, error ?? this.#fault);
  }

  #endSends(error: unknown): void {
    for (const span of this.#sends) endSpan(span, error);
    this.#sends = [];
  }
}

/**
 * Sends the records of events within one span. Their headers name that span as their parent. After 100
 * events of `parent` they name it as not recorded.
 *
 * @param parent - the span of the request, file or run.
 */
export function sendEvents<T>(
  parent: Span | undefined,
  topic: string,
  records: readonly { headers?: Record<string, Buffer | string> }[],
  send: () => Promise<T>,
): Promise<T> {
  if (parent === undefined || !trace.isSpanContextValid(parent.spanContext())) return send();
  const sent = eventsSent.get(parent) ?? 0;
  eventsSent.set(parent, sent + records.length);
  const span = parent.isRecording() && sent < maxEvents ? startSend(parent, 'kafka', topic) : undefined;
  if (records.length > 1) span?.setAttribute('messaging.batch.message_count', records.length);
  const place = (span ?? parent).spanContext();
  const headers = headersOf(place);
  const unrecorded = headersOf({ ...place, traceFlags: TraceFlags.NONE });
  for (const [index, record] of records.entries())
    Object.assign((record.headers ??= {}), sent + index < maxEvents ? headers : unrecorded);
  return endAfter(send(), (error) => endSpan(span, error));
}

/**
 * Ends a span. An error is recorded as in
 * https://opentelemetry.io/docs/specs/semconv/general/recording-errors/.
 */
export function endSpan(span: Span | undefined, error?: unknown): void {
  if (error !== undefined && span?.isRecording()) {
    const { message, ...attributes } = errorAttributes(error);
    span.setAttributes(attributes).setStatus({ code: SpanStatusCode.ERROR, message });
  }
  span?.end();
}

/** Calls `end` after the work, with its error if it fails, and returns its result. */
export async function endAfter<T>(work: Promise<T>, end: (error?: unknown) => void): Promise<T> {
  try {
    const result = await work;
    end();
    return result;
  } catch (error) {
    end(error);
    throw error;
  }
}

/** The context of a span's children. */
export function childContext(parent: Span): Context {
  return trace.setSpan(ROOT_CONTEXT, parent);
}

function startSend(parent: Span, system: MessagingSystem, destination: string): Span {
  const attributes = messaging(system, destination, 'send');
  const kind = SpanKind.PRODUCER;
  return tracer().startSpan(`send ${destination}`, { kind, attributes }, childContext(parent));
}

/** https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ */
function messaging(system: MessagingSystem, destination: string, operation: string): Attributes {
  return {
    'messaging.system': system,
    'messaging.destination.name': destination,
    'messaging.operation.type': operation,
    'messaging.operation.name': operation,
  };
}

function errorAttributes(error: unknown): { 'error.type': string; message: string } {
  const message = error instanceof Error ? error.message : String(error);
  const type = error instanceof MillraceError ? error.code : error instanceof Error ? error.name : 'ERROR';
  return { 'error.type': type, message: withoutSecrets(message) };
}
