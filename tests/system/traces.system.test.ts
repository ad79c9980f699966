import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RabbitClient } from '../../bridges/rabbitmq/testing/rabbit-client.js';
import { silentLogger } from '../../platform/logger.js';
import { packageRoot } from '../../platform/paths.js';
import { createStreams } from '../../streams/streams.js';
import { describeRabbitMq, RabbitMq } from './engines/rabbitmq-server.js';
import { freePorts, type Program, whenReady } from './programs.js';
import { fullSize, runsAll } from './size.js';
import { startEnginesApart } from './split-system.js';
import { type CollectedSpan, TraceCollector } from './trace-collector.js';

const body = JSON.parse(readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8')) as Record<
  string,
  unknown
>;

let engines: Awaited<ReturnType<typeof startEnginesApart>>;
let collector: TraceCollector;
const roles = new Map<string, { program: Program; http: string }>();

beforeAll(async () => {
  [engines, collector] = await Promise.all([startEnginesApart(), TraceCollector.start()]);
  for (const role of ['serve', 'process', 'sink']) await start(role);
  for (const { program, http } of roles.values()) await whenReady(program, http);
}, 120_000);

afterAll(async () => {
  await engines?.stop();
  await collector?.stop();
});

async function start(role: string, settings: Record<string, string> = {}): Promise<Program> {
  const { PORT } = await freePorts('PORT');
  const program = engines.startMillrace([role], {
    PORT: String(PORT),
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20secret',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    OTEL_BSP_SCHEDULE_DELAY: '100',
    KAFKA_SESSION_TIMEOUT_MS: '6000',
    ...settings,
  });
  roles.set(role, { program, http: `http://127.0.0.1:${PORT}` });
  return program;
}

/** Headers of a caller that records a trace, or belongs to an unrecorded one. */
function caller(flags = '01') {
  const traceId = randomBytes(16).toString('hex');
  const spanId = randomBytes(8).toString('hex');
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-${flags}` };
}

async function post(path: string, content: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${roles.get('serve')?.http}/v1/pipelines/credit-default/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(content),
  });
}

/** Formats a trace as lines: service, kind and name of each span, below its parent. */
function tree(traceId: string): string[] {
  const spans = collector.of(traceId);
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const lines = (parent: CollectedSpan | undefined, depth: number): string[] =>
    spans
      .filter((span) =>
        parent === undefined ? !ids.has(span.parentSpanId) : span.parentSpanId === parent.spanId,
      )
      .flatMap((span) => [
        `${'  '.repeat(depth)}${span.service.replace('millrace-', '')} ${span.kind} ${span.name}`,
        ...lines(span, depth + 1),
      ]);
  return lines(undefined, 0);
}

function find(traceId: string, name: string): CollectedSpan {
  const span = collector.of(traceId).find((each) => each.name === name);
  if (span === undefined) throw new Error(`no span ${name} among\n${tree(traceId).join('\n')}`);
  return span;
}

const fromTheLog = [
  '    process CONSUMER process credit-default.events',
  '      process PRODUCER send credit-default.predictions',
  '        sink CONSUMER process credit-default.predictions',
  '          sink CLIENT INSERT predictions_storage',
];

it.each(['predict', 'events'])(
  'a request to %s is one trace, from its caller to the insert of the row',
  async (route) => {
    const { traceId, spanId, traceparent } = caller();
    const event_id = `traced-${route}`;
    const response = await post(
      route,
      { ...body, event_id },
      { traceparent, tracestate: 'vendor=1,other=2' },
    );
    expect(response.ok).toBe(true);
    await expect
      .poll(() => tree(traceId))
      .toEqual([
        `serve SERVER POST /v1/pipelines/:pipeline/${route}`,
        '  serve PRODUCER send credit-default.events',
        ...fromTheLog,
      ]);
    const spans = collector.of(traceId);
    expect(spans.map(({ traceState }) => traceState)).toEqual(spans.map(() => 'vendor=1,other=2'));
    expect(spans.map(({ error }) => error)).toEqual(spans.map(() => undefined));
    const server = find(traceId, `POST /v1/pipelines/:pipeline/${route}`);
    expect(server.parentSpanId).toBe(spanId);
    expect(response.headers.get('traceresponse')).toBe(`00-${traceId}-${server.spanId}-01`);
    expect(server.attributes).toMatchObject({
      'http.request.method': 'POST',
      'http.route': `/v1/pipelines/:pipeline/${route}`,
      'http.response.status_code': response.status,
      'url.path': `/v1/pipelines/credit-default/${route}`,
      'url.scheme': 'http',
      'server.address': '127.0.0.1',
    });
    expect(find(traceId, 'process credit-default.events').attributes).toMatchObject({
      'messaging.system': 'kafka',
      'messaging.operation.type': 'process',
      'messaging.destination.name': 'credit-default.events',
      'messaging.destination.partition.id': expect.stringMatching(/^\d$/) as unknown,
      'messaging.kafka.offset': expect.any(Number) as unknown,
      'messaging.kafka.message.key': event_id,
      'messaging.consumer.group.name': 'millrace-score-credit-default',
      'messaging.message.id': event_id,
      'millrace.model': 'credit-default',
    });
    expect(find(traceId, 'INSERT predictions_storage').attributes).toEqual({
      'db.system.name': 'clickhouse',
      'db.namespace': 'millrace',
      'db.collection.name': 'predictions_storage',
      'db.operation.name': 'INSERT',
      'millrace.rows': expect.any(Number) as unknown,
    });
  },
);

it('identifies itself to the collector by the environment variables', () => {
  expect(collector.headers.authorization).toBe('Bearer secret');
  expect(collector.resources.get('millrace-serve')).toMatchObject({
    'service.version': expect.any(String) as unknown,
    'service.instance.id': expect.any(String) as unknown,
    'deployment.environment.name': 'test',
  });
});

it('starts a trace if the caller has none, and names it in problems', async () => {
  const response = await post('predict', { ...body, LIMIT_BAL: 'much' });
  const { trace_id: traceId } = (await response.json()) as { trace_id: string };
  expect(response.status).toBe(422);
  await expect.poll(() => tree(traceId)).toEqual(['serve SERVER POST /v1/pipelines/:pipeline/predict']);
  expect(find(traceId, 'POST /v1/pipelines/:pipeline/predict').error).toBeUndefined();
});

it('an insert of many is in one trace, and linked with the others', async () => {
  const callers = Array.from({ length: 20 }, () => caller());
  await Promise.all(callers.map(({ traceparent }) => post('events', body, { traceparent })));
  const processed = 'process credit-default.predictions';
  /** Whether the trace is whole, and has the insert or is linked with it. */
  const hasInsert = ({ traceId }: { traceId: string }): boolean => {
    if (![5, 6].includes(collector.of(traceId).length)) return false;
    const { spanId, links } = find(traceId, processed);
    const below = collector.of(traceId).some((span) => span.parentSpanId === spanId);
    if (below) return links.length === 0;
    const insert = collector.spans.find((span) => span.spanId === links[0]?.spanId);
    return (
      insert?.kind === 'CLIENT' &&
      insert.links.some((link) => link.traceId === traceId && link.spanId === spanId)
    );
  };
  await expect.poll(() => callers.map(hasInsert)).toEqual(callers.map(() => true));
});

it('of a request with many events the first hundred are recorded', async () => {
  const { traceId, traceparent } = caller();
  const response = await post(
    'events',
    Array.from({ length: 150 }, () => body),
    { traceparent },
  );
  const { event_ids } = (await response.json()) as { event_ids: string[] };
  await expect
    .poll(() => collector.of(traceId).filter(({ service }) => service === 'millrace-sink').length)
    .toBeGreaterThanOrEqual(100);
  const processedIds = (): string[] =>
    collector
      .of(traceId)
      .filter(({ name }) => name === 'process credit-default.events')
      .map(({ attributes }) => String(attributes['messaging.message.id']));
  await expect.poll(() => processedIds().toSorted()).toEqual(event_ids.slice(0, 100).toSorted());
  expect(find(traceId, 'send credit-default.events').attributes).toMatchObject({
    'messaging.batch.message_count': 150,
  });
});

it('an unrecorded trace leaves nothing', async () => {
  const { traceId, traceparent } = caller('00');
  const response = await post('predict', body, { traceparent });
  expect(response.headers.get('traceresponse')).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`));
  // A recorded one, behind it on the same path.
  const { traceId: later, traceparent: recorded } = caller();
  await post('events', body, { traceparent: recorded });
  await expect.poll(() => tree(later).length).toBe(6);
  expect(collector.of(traceId)).toEqual([]);
});

it.runIf(runsAll)(
  'a record that can’t be scored fails in its trace, on its way to the dead letters',
  async () => {
    const { traceId, traceparent } = caller();
    const streams = createStreams({ brokers: engines.kafka, clientId: 'test', logger: silentLogger });
    const producer = await streams.createProducer();
    await producer.send([
      {
        topic: 'credit-default.events',
        key: 'bad',
        value: Buffer.from('no Avro'),
        headers: { ce_id: 'bad', traceparent },
      },
      {
        topic: 'credit-default.events',
        key: 'alone',
        value: Buffer.from('no Avro'),
        headers: { ce_id: 'alone' },
      },
    ]);
    await producer.close();
    await streams.close();
    const expected = [
      'process CONSUMER process credit-default.events',
      '  process PRODUCER send credit-default.dead-letters',
      '    sink CONSUMER process credit-default.dead-letters',
    ];
    await expect.poll(() => tree(traceId).slice(0, 3)).toEqual(expected);
    const span = find(traceId, 'process credit-default.events');
    expect(span.error).toBeTruthy();
    expect(span.attributes['error.type']).toBe('UNDECODABLE');
    // A record of a sender without traces starts one.
    const own = (): CollectedSpan | undefined =>
      collector.spans.find((each) => each.attributes['messaging.message.id'] === 'alone');
    await expect.poll(own).toMatchObject({ parentSpanId: '', error: span.error });
    await expect.poll(() => tree(own()?.traceId ?? '').slice(0, 3)).toEqual(expected);
  },
);

(runsAll ? describeRabbitMq : describe.skip)('over RabbitMQ', () => {
  let rabbit: RabbitMq;
  let client: RabbitClient;

  beforeAll(async () => {
    rabbit = await RabbitMq.start();
    const bridge = await start('bridge', { RABBITMQ_URL: rabbit.url, RABBITMQ_RESULTS_QUEUES: 'results' });
    await whenReady(bridge, roles.get('bridge')?.http ?? '');
    client = await RabbitClient.connect(rabbit.url);
  }, 120_000);

  afterAll(async () => {
    await client?.close();
    await roles.get('bridge')?.program.kill();
    await rabbit?.stop();
  });

  it('a message is one trace, from its sender to the reply', async () => {
    const { traceId, spanId, traceparent } = caller();
    const { queue } = await client.channel.assertQueue('replies', { durable: true });
    await client.send(body, {
      messageId: 'asked',
      correlationId: 'request-1',
      replyTo: queue,
      headers: { traceparent, tracestate: 'vendor=1' },
    });
    await expect
      .poll(() => tree(traceId).toSorted())
      .toEqual(
        [
          'bridge CONSUMER process alicpp_records',
          '  bridge PRODUCER send credit-default.events',
          ...fromTheLog,
          '        bridge CONSUMER process credit-default.predictions',
          '          bridge PRODUCER send millrace.predictions',
          '          bridge PRODUCER send amq.default',
        ].toSorted(),
      );
    const received = find(traceId, 'process alicpp_records');
    expect(received.parentSpanId).toBe(spanId);
    expect(received.attributes).toMatchObject({
      'messaging.system': 'rabbitmq',
      'messaging.message.id': 'asked',
      'messaging.message.conversation_id': 'request-1',
      'messaging.rabbitmq.destination.routing_key': 'alicpp_records',
    });
    for (const [from, name] of [
      [queue, 'send amq.default'],
      ['results', 'send millrace.predictions'],
    ] as const) {
      const sent = (await client.drain(from)).map(({ properties }) => properties.headers);
      expect(sent).toContainEqual({
        traceparent: `00-${traceId}-${find(traceId, name).spanId}-01`,
        tracestate: 'vendor=1',
      });
    }
  });

  it('a bad message fails in its trace, and an unrecorded one leaves nothing', async () => {
    const silent = caller('00');
    await client.send(body, { messageId: 'silent', headers: { traceparent: silent.traceparent } });
    const { traceId, traceparent } = caller();
    await client.send('no JSON', { messageId: 'bad message', headers: { traceparent } });
    await expect
      .poll(() => tree(traceId))
      .toEqual(
        expect.arrayContaining([
          'bridge CONSUMER process alicpp_records',
          '  bridge PRODUCER send credit-default.dead-letters',
          '    sink CONSUMER process credit-default.dead-letters',
        ]),
      );
    expect(find(traceId, 'process alicpp_records').attributes['error.type']).toBe('JSON_INVALID');
    expect(collector.of(silent.traceId)).toEqual([]);
  });
});

it.runIf(fullSize)(
  'each trace has one path after outages and a killed sink',
  { timeout: 90_000 },
  async () => {
    await engines.clickHouse.kill();
    const { traceId, traceparent } = caller();
    await post('events', body, { traceparent });
    // The spans of this one are lost with it.
    const failedInsert = () =>
      collector.of(traceId).some(({ kind, error }) => kind === 'CLIENT' && error !== undefined);
    await expect.poll(failedInsert).toBe(true);
    await roles.get('sink')?.program.kill();
    const sink = await start('sink');
    await engines.clickHouse.restart();
    await whenReady(sink, roles.get('sink')?.http ?? '');
    const inserted = () =>
      collector
        .of(traceId)
        .find(({ name, error }) => name === 'INSERT predictions_storage' && error === undefined);
    await expect.poll(inserted, { timeout: 60_000, interval: 100 }).toBeDefined();
    const processed = (): string[] =>
      collector
        .of(traceId)
        .filter(({ name }) => name === 'process credit-default.predictions')
        .map(({ spanId }) => spanId);
    await expect.poll(processed).toEqual([inserted()?.parentSpanId]);
  },
);

it.runIf(fullSize)(
  'a process that ends in order sends its remaining spans',
  { timeout: 60_000 },
  async () => {
    const serve = await start('serve', { OTEL_BSP_SCHEDULE_DELAY: '3600000' });
    await whenReady(serve, roles.get('serve')?.http ?? '');
    const { traceId, traceparent } = caller();
    await post('events', body, { traceparent });
    serve.signal('SIGTERM');
    expect(await serve.exited, serve.output()).toBe(0);
    expect(tree(traceId)).toContain('serve SERVER POST /v1/pipelines/:pipeline/events');
  },
);

it.runIf(fullSize)(
  'an unavailable collector is logged once, and changes nothing',
  { timeout: 60_000 },
  async () => {
    const { closed } = await freePorts('closed');
    const serve = await start('serve', {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${closed}`,
      OTEL_EXPORTER_OTLP_TIMEOUT: '200',
      OTEL_BSP_SCHEDULE_DELAY: '50',
      STOP_TIMEOUT_MS: '14000',
    });
    await whenReady(serve, roles.get('serve')?.http ?? '');
    const warnings = (): number => serve.output().split("Traces can't be sent").length - 1;
    await expect
      .poll(async () => {
        expect((await post('predict', body)).status).toBe(200);
        return warnings();
      })
      .toBe(1);
    for (let count = 0; count < 3_000; count += 100)
      await Promise.all(Array.from({ length: 100 }, () => post('predict', body)));
    expect(warnings()).toBe(1);
    serve.signal('SIGTERM');
    // It would be 1 after STOP_TIMEOUT_MS.
    expect(await serve.exited, serve.output()).toBe(0);
  },
);
