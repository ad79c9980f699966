import {
  type Attributes,
  type Context,
  createTraceState,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import {
  ATTR_DB_COLLECTION_NAME,
  ATTR_DB_NAMESPACE,
  ATTR_DB_OPERATION_NAME,
  ATTR_DB_SYSTEM_NAME,
  ATTR_ERROR_TYPE,
  ATTR_HTTP_REQUEST_METHOD,
} from '@opentelemetry/semantic-conventions';
import {
  ATTR_MESSAGING_BATCH_MESSAGE_COUNT,
  ATTR_MESSAGING_CONSUMER_GROUP_NAME,
  ATTR_MESSAGING_DESTINATION_NAME,
  ATTR_MESSAGING_MESSAGE_ID,
  ATTR_MESSAGING_OPERATION_NAME,
  ATTR_MESSAGING_OPERATION_TYPE,
  ATTR_MESSAGING_SYSTEM,
  MESSAGING_OPERATION_TYPE_VALUE_PROCESS,
  MESSAGING_OPERATION_TYPE_VALUE_SEND,
} from '@opentelemetry/semantic-conventions/incubating';
import { MillraceError } from '../errors.js';
import type { Logger } from '../logger.js';
import { withoutSecrets } from '../secrets.js';
import { startTraceExport, type TraceExport } from './trace-export.js';
import { isSampled, type TraceHeaders, unsampled } from './trace-headers.js';
import type { Delivery, MessagingSystem, Processing, Sending, Timed, Traces, Work } from './traces.js';

/** Events of one request, file or run that are shown: with thousands nobody could read its trace. */
const shownEvents = 100;

/** Traces with OpenTelemetry's SDK. Loaded only where they are on. */
export class OtelTraces implements Traces {
  readonly #export: TraceExport;
  readonly #tracer: Tracer;

  private constructor(traceExport: TraceExport) {
    this.#export = traceExport;
    this.#tracer = traceExport.tracer;
  }

  static start(service: string, logger: Logger): OtelTraces {
    return new OtelTraces(startTraceExport(service, logger));
  }

  request(method: string, caller: TraceHeaders | undefined, attributes: Attributes): Work {
    const span = this.#tracer.startSpan(
      method,
      { kind: SpanKind.SERVER, attributes: { [ATTR_HTTP_REQUEST_METHOD]: method, ...attributes } },
      contextFrom(caller),
    );
    return new SpanWork(this.#tracer, span);
  }

  begin(name: string, attributes: Attributes): Work {
    return new SpanWork(this.#tracer, this.#tracer.startSpan(name, { attributes }, ROOT_CONTEXT));
  }

  process(
    delivery: () => Delivery,
    sender: TraceHeaders | undefined,
    mayBegin: boolean,
  ): Processing | undefined {
    if (sender === undefined ? !mayBegin : !isSampled(sender.traceparent)) return undefined;
    const span = this.#tracer.startSpan('process', { kind: SpanKind.CONSUMER }, contextFrom(sender));
    if (!span.isRecording()) return undefined;
    const { system, source, group, messageId, attributes } = delivery();
    span.updateName(`process ${source}`);
    span.setAttributes({
      ...messaging(system, source, MESSAGING_OPERATION_TYPE_VALUE_PROCESS),
      [ATTR_MESSAGING_CONSUMER_GROUP_NAME]: group,
      [ATTR_MESSAGING_MESSAGE_ID]: messageId,
      ...attributes,
    });
    return new SpanProcessing(this.#tracer, span);
  }

  insert(table: string, rows: number, records: readonly Processing[]): Timed | undefined {
    const spans = records.filter((record) => record instanceof SpanProcessing).map(({ span }) => span);
    const [first, ...others] = spans;
    if (first === undefined) return undefined;
    const attributes = {
      [ATTR_DB_SYSTEM_NAME]: 'clickhouse',
      [ATTR_DB_NAMESPACE]: 'millrace',
      [ATTR_DB_COLLECTION_NAME]: table,
      [ATTR_DB_OPERATION_NAME]: 'INSERT',
      'millrace.rows': rows,
    };
    const links = others.map((span) => ({ context: span.spanContext() }));
    const span = this.#tracer.startSpan(
      `INSERT ${table}`,
      { kind: SpanKind.CLIENT, attributes, links },
      below(first),
    );
    for (const other of others) other.addLink({ context: span.spanContext() });
    return { end: (error) => end(span, error) };
  }

  stop(): Promise<void> {
    return this.#export.stop();
  }
}

class SpanWork implements Work {
  readonly headers: TraceHeaders;
  readonly #tracer: Tracer;
  readonly #span: Span;
  #shown = 0;

  constructor(tracer: Tracer, span: Span) {
    this.#tracer = tracer;
    this.#span = span;
    this.headers = headersOf(span);
  }

  get traceId(): string {
    return this.#span.spanContext().traceId;
  }

  describe(attributes: Attributes, name?: string): void {
    this.#span.setAttributes(attributes);
    if (name !== undefined) this.#span.updateName(name);
  }

  send(topic: string): Sending {
    const isShown = this.#span.isRecording() && this.#shown < shownEvents;
    const span = isShown ? startSend(this.#tracer, this.#span, 'kafka', topic) : undefined;
    const headers = span === undefined ? this.headers : headersOf(span);
    const unshown = unsampled(headers);
    let events = 0;
    return {
      nextHeaders: () => {
        events++;
        return this.#shown++ < shownEvents ? headers : unshown;
      },
      end: (error) => {
        if (events > 1) span?.setAttribute(ATTR_MESSAGING_BATCH_MESSAGE_COUNT, events);
        if (span !== undefined) end(span, error);
      },
    };
  }

  end(error?: unknown): void {
    end(this.#span, error);
  }
}

class SpanProcessing implements Processing {
  readonly span: Span;
  readonly #tracer: Tracer;
  #sends: Span[] = [];
  #fault: unknown;

  constructor(tracer: Tracer, span: Span) {
    this.#tracer = tracer;
    this.span = span;
  }

  describe(attributes: Attributes): void {
    this.span.setAttributes(attributes);
  }

  send(system: MessagingSystem, destination: string): TraceHeaders {
    const span = startSend(this.#tracer, this.span, system, destination);
    this.#sends.push(span);
    return headersOf(span);
  }

  fail(error: unknown): void {
    this.#fault = error;
  }

  retry(error: unknown): void {
    this.span.addEvent('retry', errorAttributes(error));
    this.#endSends(error);
    this.#fault = undefined;
  }

  end(error?: unknown): void {
    this.#endSends(error);
    end(this.span, error ?? this.#fault);
  }

  #endSends(error: unknown): void {
    for (const span of this.#sends) end(span, error);
    this.#sends = [];
  }
}

function startSend(tracer: Tracer, parent: Span, system: MessagingSystem, destination: string): Span {
  const attributes = messaging(system, destination, MESSAGING_OPERATION_TYPE_VALUE_SEND);
  return tracer.startSpan(`send ${destination}`, { kind: SpanKind.PRODUCER, attributes }, below(parent));
}

/** https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ */
function messaging(system: MessagingSystem, destination: string, operation: string): Attributes {
  return {
    [ATTR_MESSAGING_SYSTEM]: system,
    [ATTR_MESSAGING_DESTINATION_NAME]: destination,
    [ATTR_MESSAGING_OPERATION_TYPE]: operation,
    [ATTR_MESSAGING_OPERATION_NAME]: operation,
  };
}

/** https://opentelemetry.io/docs/specs/semconv/general/recording-errors/ */
function end(span: Span, error: unknown): void {
  if (error !== undefined && span.isRecording()) {
    const { [ATTR_ERROR_TYPE]: type, message } = errorAttributes(error);
    span.setAttribute(ATTR_ERROR_TYPE, type);
    span.setStatus({ code: SpanStatusCode.ERROR, message });
  }
  span.end();
}

function errorAttributes(error: unknown): { [ATTR_ERROR_TYPE]: string; message: string } {
  const message = error instanceof Error ? error.message : String(error);
  const type = error instanceof MillraceError ? error.code : error instanceof Error ? error.name : 'ERROR';
  return { [ATTR_ERROR_TYPE]: type, message: withoutSecrets(message) };
}

function below(span: Span): Context {
  return trace.setSpan(ROOT_CONTEXT, span);
}

function contextFrom(sender: TraceHeaders | undefined): Context {
  if (sender === undefined) return ROOT_CONTEXT;
  const [, traceId = '', spanId = '', flags = ''] = sender.traceparent.split('-');
  const context: SpanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & 1,
    isRemote: true,
    ...(sender.tracestate === undefined ? {} : { traceState: createTraceState(sender.tracestate) }),
  };
  return trace.setSpanContext(ROOT_CONTEXT, context);
}

function headersOf(span: Span): TraceHeaders {
  const { traceId, spanId, traceFlags, traceState } = span.spanContext();
  const traceparent = `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
  const tracestate = traceState?.serialize();
  return tracestate ? { traceparent, tracestate } : { traceparent };
}
