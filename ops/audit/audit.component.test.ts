import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { migrate } from '../../analytics/migrate.js';
import { startKafka, type EmbeddedKafka } from '../../embedded/kafka/start.js';
import { type Engines, startEngines } from '../../app/start-engines.js';
import { loadConfig } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import { Health } from '../../platform/health.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { packageRoot } from '../../platform/paths.js';
import { Sink } from '../../processors/sink/sink.js';
import { deadLetterRecord } from '../../processors/dead-letters/dead-letter.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { createKafka } from '../../streams/connection.js';
import type { Streams } from '../../streams/streams.js';
import { sinkGroup } from '../../streams/topics.js';
import type { Serde } from '../../streams/serde.js';
import { type Finished, runCommand } from '../../tests/system/run-command.js';
import { auditCommand } from '../../cli/audit.js';
import { type Context, openContext, type Role } from '../../app/context.js';
import { startProcessors } from '../../app/process.js';
import { startSink } from '../../app/sink.js';
import { diagnose } from '../doctor/doctor.js';
import { auditLog } from './audit.js';
import type { AuditReport, Finding } from './report.js';

const topic = 'credit-default.events';
const client = JSON.parse(
  readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
) as object;
const doneIn = { timeout: 60_000 };

let folder: string;
let registry: EmbeddedKafka | undefined;
let settings: Record<string, string>;
let engines: Engines;
let context: Context;
let streams: Streams;
let serde: Serde;
let producer: LogProducer;
const roles: Role[] = [];
let eventSchema: number;
let outcomeSchema: number;

/** Runs on the embedded engines, or on an unused Kafka in `KAFKA_BROKERS`. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-audit-'));
  const brokers = process.env['KAFKA_BROKERS'];
  settings = {
    PORT: '0',
    KAFKA_PORT: '0',
    SCHEMA_REGISTRY_PORT: '0',
    CLICKHOUSE_PORT: '0',
    DATA_DIR: folder,
  };
  if (brokers) {
    registry = await startKafka({ dataDir: join(folder, 'registry'), port: 0, registryPort: 0 });
    const url = `http://127.0.0.1:${registry.registryPort}`;
    settings = { ...settings, KAFKA_BROKERS: brokers, SCHEMA_REGISTRY_URL: url };
  }
  const config = loadConfig(settings);
  const base = { logger: silentLogger, metrics: createMetrics(), health: new Health() };
  engines = await startEngines(config, base);
  context = await openContext(config, engines, base);
  await migrate(engines.analytics.client);
  ({ streams, serde } = context);
  producer = await streams.createProducer();
  eventSchema = await serde.register(topic, loadContract('credit-default', 'event').type);
  outcomeSchema = await serde.register('credit-default.outcomes', loadContract('shared', 'outcome').type);
});

afterAll(async () => {
  for (const role of roles.toReversed()) await role.stop();
  await context.close();
  await engines.stop();
  await registry?.stop();
  await rm(folder, { recursive: true, force: true });
});

function event(id: string, partition: number, fields: object = client): NewRecord {
  const value = serde.encode(eventSchema, loadContract('credit-default', 'event').type, fields);
  return { topic, partition, key: id, value, headers: { ce_id: id } };
}

function outcome(id: string, value: number, observedAt: number): NewRecord {
  const { type } = loadContract('shared', 'outcome');
  const fields = { event_id: id, outcome: value, observed_at: observedAt };
  return {
    topic: 'credit-default.outcomes',
    partition: 0,
    key: id,
    value: serde.encode(outcomeSchema, type, fields),
  };
}

function audit(
  options: { deep?: boolean; waitMs?: number; stillMs?: number; since?: number; limit?: number } = {},
): Promise<AuditReport> {
  const { client: clickhouse } = engines.analytics;
  const pipelines = ['credit-default'];
  return auditLog({ streams, serde, client: clickhouse, pipelines, stillMs: 200, ...options });
}

/** Returns the findings of the quick and the deep audit. */
async function findings(): Promise<{ quick: string[]; deep: string[] }> {
  const named = (report: AuditReport): string[] => {
    expect(report.found).toBe(report.findings.length);
    return report.findings.map(summary).toSorted();
  };
  return {
    quick: named(await audit({ waitMs: 20_000 })),
    deep: named(await audit({ waitMs: 20_000, deep: true })),
  };
}

function summary({ kind, topic: of, event_id: id }: Finding): string {
  return `${kind} ${of.replace('credit-default.', '')} ${id}`;
}

function sum(report: AuditReport, of: string, field: 'records' | 'rows' | 'repeats' | 'in_flight'): number {
  const partitions = report.partitions.filter((each) => each.topic === of);
  return partitions.reduce((total, each) => total + each[field], 0);
}

async function readAll(of: string): Promise<StreamRecord[]> {
  const all: StreamRecord[] = [];
  const spans = (await streams.ends(of)).map(({ partition, low, high }) => ({
    topic: of,
    partition,
    from: low,
    to: high,
  }));
  await streams.read(spans, (records) => void all.push(...records));
  return all;
}

async function sql(query: string): Promise<void> {
  await engines.analytics.client.command({ query });
}

function runAudit(...args: string[]): Promise<Finished> {
  const of = {
    ...settings,
    KAFKA_BROKERS: engines.brokers.join(','),
    SCHEMA_REGISTRY_URL: engines.registryUrl,
    CLICKHOUSE_URL: engines.clickHouseUrl,
  };
  return runCommand(auditCommand(), args, of);
}

it('counts unprocessed records as in flight, not as missing', doneIn, async () => {
  await producer.send([
    event('a', 0),
    event('b', 1),
    event('c', 2),
    { ...event('bad', 0), value: Buffer.from('?') },
  ]);
  const before = await audit({ deep: true });
  expect(before).toMatchObject({ clean: true, found: 0 });
  expect([sum(before, topic, 'records'), sum(before, topic, 'in_flight')]).toEqual([0, 4]);

  roles.push(await startProcessors(context));
  await expect
    .poll(
      async () => sum(await audit(), topic, 'in_flight') + sum(await audit({ deep: true }), topic, 'records'),
    )
    .toBe(8);
  const scored = await audit({ deep: true });
  expect(scored).toMatchObject({ clean: true, found: 0 });
  expect(sum(scored, 'credit-default.predictions', 'in_flight')).toBe(3);
  expect(sum(scored, 'credit-default.dead-letters', 'in_flight')).toBe(1);
  const waited = await audit({ waitMs: 1 });
  expect(waited.unfinished).toContain(
    'millrace-sink has not processed credit-default.predictions within 0.001 s',
  );
});

it(
  'is clean with transaction markers, aborted records, repeats, corrections and dead letters',
  doneIn,
  async () => {
    roles.push(await startSink(context));
    const transactional = await streams.createTransactionalProducer('millrace-test-audit');
    await transactional.commit([event('in-a-transaction', 0), event('in-a-transaction-too', 1)]);
    // The first request of this transaction is on the log when the second is refused.
    const tooLarge = { ...event('too large', 1), value: Buffer.alloc(3_000_000, 1) };
    const aborted = Array.from({ length: 5 }, (_, index) => event(`aborted-${index}`, 1));
    await expect(transactional.commit([...aborted, tooLarge])).rejects.toThrow(MillraceError);
    await transactional.close();
    const next = await streams.createTransactionalProducer('millrace-test-audit');
    await next.commit([event('after', 1)]);
    await next.close();
    await producer.send([event('a', 0), event('a', 0), event('a', 2)]);
    await producer.send([outcome('a', 1, 1_000), outcome('a', 0, 2_000), outcome('b', 1, 3_000)]);
    await producer.send([{ ...outcome('b', 1, 3_000), value: Buffer.from('no outcome') }]);
    await producer.send([
      { topic: 'credit-default.predictions', key: 'x', value: Buffer.from('no prediction') },
    ]);

    // Longer than the sink collects rows.
    const patient = { waitMs: 30_000, stillMs: 5_000 };
    const quick = await audit(patient);
    expect(quick).toMatchObject({ clean: true, findings: [], unfinished: [] });
    expect(sum(quick, topic, 'records')).toBe(10);
    expect(sum(quick, topic, 'repeats')).toBe(3);
    expect(sum(quick, 'credit-default.outcomes', 'repeats')).toBe(1);
    const deep = await audit({ ...patient, deep: true });
    expect(deep).toMatchObject({ clean: true, findings: [], unfinished: [] });
    expect(sum(deep, 'credit-default.predictions', 'records')).toBe(10);
    expect(sum(deep, 'credit-default.predictions', 'repeats')).toBe(3);
    expect(await runAudit('--pipeline', 'credit-default', '--deep')).toMatchObject({ exit: 0 });
  },
);

it('reports a deleted row of any kind as missing', doneIn, async () => {
  const before = await audit();
  await sql(
    `ALTER TABLE millrace.predictions_storage DELETE WHERE event_id IN ('b', 'a') SETTINGS mutations_sync = 1`,
  );
  await sql(`ALTER TABLE millrace.outcomes_storage DELETE WHERE event_id = 'b' SETTINGS mutations_sync = 1`);
  await sql(
    `ALTER TABLE millrace.dead_letters_storage DELETE WHERE event_id = 'bad' SETTINGS mutations_sync = 1`,
  );
  const { quick, deep } = await findings();
  const four = ['missing events a', 'missing events a', 'missing events a', 'missing events a'];
  expect(quick).toEqual([...four, 'missing events b', 'missing events bad', 'missing outcomes b']);
  expect(deep).toEqual([
    'missing dead-letters bad',
    'missing outcomes b',
    ...four.map((text) => text.replace('events', 'predictions')),
    'missing predictions b',
  ]);
  expect(sum(await audit(), topic, 'records')).toBe(sum(before, topic, 'records'));
  expect(await runAudit('--json')).toMatchObject({ exit: 1 });
  const { output } = await runAudit('--limit', '2');
  expect(output).toMatch(/missing: credit-default\.events\/\d\/\d \(event \w+\) has neither/);
  expect(output).toContain('… and 5 more');
});

it('is clean again when the rows are stored again from the log', doneIn, async () => {
  const { pipelines, metrics } = context;
  const contracts = {
    prediction: loadContract('shared', 'prediction'),
    outcome: loadContract('shared', 'outcome'),
    modelEvent: loadContract('shared', 'model-event'),
  };
  const sink = new Sink({
    ...contracts,
    pipelines: [...pipelines.keys()],
    analytics: engines.analytics,
    serde,
    producer,
    metrics,
    logger: silentLogger,
  });
  for (const of of ['predictions', 'dead-letters', 'outcomes'])
    await sink.store(await readAll(`credit-default.${of}`));
  expect(await findings()).toEqual({ quick: [], deep: [] });
});

it('reports a second row of any kind as doubled', doneIn, async () => {
  await sql(`INSERT INTO millrace.predictions_storage (event_id, prediction_id, pipeline, topic, partition, offset, role, predicted_at)
    SELECT event_id, generateUUIDv4(), pipeline, topic, partition, offset, role, predicted_at FROM millrace.predictions WHERE event_id = 'c'`);
  const [original] = (await readAll(topic)).filter(({ headers }) => headers['ce_id']?.toString() === 'after');
  const again = (await readAll('credit-default.predictions')).filter(
    ({ key }) => key?.toString() === 'in-a-transaction',
  );
  await producer.send(
    again.map(({ key, value, headers }) => ({ topic: 'credit-default.predictions', key, value, headers })),
  );
  if (original === undefined) throw new Error('there is no such event');
  const about = { now: Date.now(), schemaId: eventSchema, eventId: 'after' };
  const reason = new MillraceError('MODEL_FAILED', 'for the test');
  const deadLetter = deadLetterRecord(
    'credit-default.dead-letters',
    'credit-default',
    original,
    reason,
    about,
  );
  await producer.send([deadLetter, deadLetter]);
  const { quick, deep } = await findings();
  expect(quick).toEqual(['doubled events after', 'doubled events c']);
  expect(deep).toEqual([
    'doubled dead-letters after',
    'doubled events after',
    'doubled events c',
    'doubled predictions in-a-transaction',
  ]);
});

it('reports rows and predictions without an event as stray', doneIn, async () => {
  const known = (await readAll('credit-default.predictions')).find(({ key }) => key?.toString() === 'c');
  const { type } = loadContract('shared', 'prediction');
  const prediction = (await serde.decode(known?.value ?? null, type)) as Prediction;
  const schema = await serde.register('credit-default.predictions', type);
  const value = serde.encode(schema, type, {
    ...prediction,
    event_id: 'nobody',
    offset: 0,
    partition: 2,
    topic: 'x',
  });
  await producer.send([{ topic: 'credit-default.predictions', key: 'nobody', value }]);
  // The first offset of partition 1 without a record is that of a transaction marker.
  const offsets = new Set(
    (await readAll(topic)).filter(({ partition }) => partition === 1).map(({ offset }) => offset),
  );
  const marker = [...offsets.keys()].findIndex((_, offset) => !offsets.has(offset));
  await sql(`INSERT INTO millrace.predictions_storage (event_id, prediction_id, pipeline, topic, partition, offset, role, predicted_at)
    SELECT 'from nowhere', generateUUIDv4(), pipeline, topic, 1, ${marker}, role, predicted_at FROM millrace.predictions WHERE event_id = 'after'`);
  const { deep } = await findings();
  expect(deep.filter((text) => text.startsWith('stray'))).toEqual([
    'stray events from nowhere',
    'stray predictions nobody',
  ]);
});

it('compares only records since a time with --since', doneIn, async () => {
  const since = Date.now() + 60_000;
  expect(await audit({ since })).toMatchObject({ clean: true });
  await producer.send([{ ...event('later', 0), timestamp: since + 1_000 }]);
  const later = await audit({ since, waitMs: 20_000 });
  expect(later).toMatchObject({ clean: true });
  expect([sum(later, topic, 'records'), sum(later, topic, 'rows')]).toEqual([1, 1]);
});

it('exits with 2 if it cannot compare', doneIn, async () => {
  expect(await runAudit('--pipeline', 'nobody')).toMatchObject({ exit: 2 });
  expect(await runAudit('--wait', 'long')).toMatchObject({ exit: 2 });
});

it('audit, doctor and readiness report an offset beyond the end of the log', doneIn, async () => {
  for (const role of roles.splice(0).toReversed()) await role.stop();
  const { brokers } = engines;
  const kafka = createKafka({ brokers, clientId: 'test', logger: silentLogger });
  const admin = kafka.admin();
  await admin.connect();
  const of = 'credit-default.outcomes';
  await admin.setOffsets({ groupId: sinkGroup, topic: of, partitions: [{ partition: 2, offset: '5000' }] });
  await admin.disconnect();
  const report = await audit();
  expect(report.clean).toBe(false);
  const [finding] = report.findings.filter(({ offset }) => offset === 5000);
  expect(finding).toMatchObject({ kind: 'stray', topic: of, partition: 2 });
  expect(finding?.detail).toContain(
    `${sinkGroup} has committed offset 5000 of ${of}/2, where the log ends at `,
  );
  await expect
    .poll(async () => (await context.health.report()).parts['offsets'])
    .toMatchObject({ status: 'degraded', detail: expect.stringContaining('offset 5000') as string });
  const found = await diagnose({
    ...settings,
    KAFKA_BROKERS: brokers.join(','),
    CLICKHOUSE_URL: engines.clickHouseUrl,
  });
  const reported = found.filter(({ what }) => what.includes('offset 5000'));
  expect(reported.map(({ severity, area }) => [severity, area])).toContainEqual(['error', 'groups']);
});

it('is not clean while a group makes no progress', doneIn, async () => {
  await producer.send([event('waits', 0)]);
  const { output, exit } = await runAudit('--pipeline', 'credit-default', '--since', '10s');
  expect(output).toMatch(
    /millrace-score-credit-default has records to process and has stayed at offset \d+ of credit-default\.events\/0 /,
  );
  expect(output).not.toMatch(/\bclean\b/i);
  expect(exit).not.toBe(0);
});
