import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';

/** A span as received, with its attributes by name. */
export interface CollectedSpan {
  service: string;
  traceId: string;
  spanId: string;
  /** Empty for the first of a trace. */
  parentSpanId: string;
  traceState: string;
  name: string;
  kind: 'INTERNAL' | 'SERVER' | 'CLIENT' | 'PRODUCER' | 'CONSUMER';
  attributes: Record<string, unknown>;
  events: string[];
  links: { traceId: string; spanId: string }[];
  /** The error's message, if it ended in one. */
  error: string | undefined;
  startedAt: bigint;
  endedAt: bigint;
}

const kinds = ['', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'] as const;

interface OtlpValue {
  stringValue?: string;
  intValue?: number | string;
  doubleValue?: number;
  boolValue?: boolean;
}
interface OtlpAttribute {
  key: string;
  value: OtlpValue;
}
interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  traceState?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: OtlpAttribute[];
  events?: { name: string }[];
  links?: { traceId: string; spanId: string }[];
  status?: { code?: number; message?: string };
}
interface OtlpRequest {
  resourceSpans: {
    resource: { attributes: OtlpAttribute[] };
    scopeSpans: { scope: { name: string }; spans: OtlpSpan[] }[];
  }[];
}

/** Accepts what a collector would: OTLP over HTTP, as JSON. */
export class TraceCollector {
  readonly spans: CollectedSpan[] = [];
  /** Of the last request. */
  headers: IncomingMessage['headers'] = {};
  /** Attributes of each service's resource. */
  readonly resources = new Map<string, Record<string, unknown>>();
  readonly #server = createServer((request, response) => void this.#take(request, response));

  static async start(): Promise<TraceCollector> {
    const collector = new TraceCollector();
    collector.#server.listen(0, '127.0.0.1');
    await once(collector.#server, 'listening');
    return collector;
  }

  /** For `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Spans of one trace, in the order of their start. */
  of(traceId: string): CollectedSpan[] {
    const spans = this.spans.filter((span) => span.traceId === traceId);
    return spans.toSorted((a, b) => Number(a.startedAt - b.startedAt));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const isTraces = request.url === '/v1/traces' && request.headers['content-type'] === 'application/json';
    if (!isTraces) {
      response.writeHead(415).end();
      return;
    }
    this.headers = request.headers;
    const text = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
    this.#keep(JSON.parse(text.toString()) as OtlpRequest);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  }

  #keep({ resourceSpans }: OtlpRequest): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const about = valuesOf(resource.attributes);
      const service = String(about['service.name']);
      this.resources.set(service, about);
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) this.spans.push(toSpan(service, span));
    }
  }
}

function toSpan(service: string, span: OtlpSpan): CollectedSpan {
  const { traceId, spanId, parentSpanId = '', traceState = '', name, status } = span;
  return {
    service,
    traceId,
    spanId,
    parentSpanId,
    traceState,
    name,
    kind: (kinds[span.kind] ?? '') as CollectedSpan['kind'],
    attributes: valuesOf(span.attributes ?? []),
    events: (span.events ?? []).map((event) => event.name),
    links: (span.links ?? []).map((link) => ({ traceId: link.traceId, spanId: link.spanId })),
    error: status?.code === 2 ? (status.message ?? '') : undefined,
    startedAt: BigInt(span.startTimeUnixNano),
    endedAt: BigInt(span.endTimeUnixNano),
  };
}

function valuesOf(attributes: readonly OtlpAttribute[]): Record<string, unknown> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => {
      const { intValue } = value;
      return [
        key,
        intValue === undefined
          ? (value.stringValue ?? value.boolValue ?? value.doubleValue)
          : Number(intValue),
      ];
    }),
  );
}

async function readBody(request: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
