import { join } from 'node:path';
import { startKafka } from '../../embedded/kafka/start.js';
import { silentLogger } from '../../platform/logger.js';
import { newEventId } from '../../processors/events/ids.js';
import { kafkajs } from '../../streams/kafkajs.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { pipelineTopics, scoringGroup, sinkGroup } from '../../streams/topics.js';
import { type BenchSystem, startSystem } from '../bench-system.js';

export const pipeline = 'credit-default';
const topics = pipelineTopics(pipeline);

/** Events that go through the system; the others are copies of them. */
const templates = 5_000;
/** As in a scorer's transaction. */
const recordsPerCommit = 1_000;
const rowsPerInsert = 100_000;
const eventsPerSecond = 1_000;

/**
 * Brings an empty data folder to a number of events on the log and predictions on the log and in ClickHouse.
 *
 * @param body - that many events as lines of JSON.
 */
export async function load(folder: string, count: number, body: (count: number) => string): Promise<void> {
  const posted = Math.min(count, templates);
  await runSystem(folder, async (system) => {
    await post(system, body(posted));
    await system.whenStored(posted);
  });
  if (count === posted) return;
  await copyRecords(folder, count - posted);
  await runSystem(folder, async (system) => {
    for (let from = posted; from < count; from += rowsPerInsert)
      await copyRows(system, from, Math.min(rowsPerInsert, count - from), count);
    // As in a system that has run for long: else large parts are merged for minutes, while the events are
    // measured.
    for (const table of ['predictions_storage', 'predictions_by_time_storage']) {
      const answer = await system.sql(`OPTIMIZE TABLE millrace.${table} FINAL`);
      if (answer.includes('Exception')) throw new Error(answer);
    }
  });
}

/** Starts the system on a folder, and stops it after the work. */
export async function runSystem<Result>(
  folder: string,
  work: (system: BenchSystem) => Promise<Result>,
): Promise<Result> {
  const system = await startSystem(folder);
  try {
    return await work(system);
  } finally {
    await system.stop();
  }
}

/** Posts events, and resolves when they are accepted. */
export async function post({ endpoints }: BenchSystem, body: string): Promise<void> {
  const headers = { 'content-type': 'application/x-ndjson' };
  const url = `${endpoints.http}/v1/pipelines/${pipeline}/events`;
  const response = await fetch(url, { method: 'POST', headers, body });
  if (response.status !== 202) throw new Error(`${response.status}: ${await response.text()}`);
  await response.arrayBuffer();
}

/**
 * Writes copies of the events, and of the predictions in transactions of the scorer's size, while nothing
 * else runs.
 */
async function copyRecords(folder: string, count: number): Promise<void> {
  const log = await startKafka({ dataDir: join(folder, 'log') });
  const streams = createStreams({ brokers: log.brokers, clientId: 'bench', logger: silentLogger });
  const scorer = await streams.createTransactionalProducer('bench-growth');
  const producer = await streams.createProducer();
  const [events, predictions] = [
    await readTemplates(streams, topics.events),
    await readTemplates(streams, topics.predictions),
  ];
  for (let from = 0; from < count; from += recordsPerCommit) {
    const keys = Array.from({ length: Math.min(recordsPerCommit, count - from) }, () => newEventId());
    await Promise.all([
      producer.send(keys.map((key, index) => copy(events, from + index, key))),
      scorer.commit(keys.map((key, index) => copy(predictions, from + index, key))),
    ]);
  }
  await setToEnd(streams, log.brokers);
  await streams.close();
  await log.stop();
}

async function readTemplates(streams: Streams, topic: string): Promise<StreamRecord[]> {
  const records: StreamRecord[] = [];
  const ends = await streams.ends(topic);
  const spans = ends.map(({ partition, low, high }) => ({ topic, partition, from: low, to: high }));
  await streams.read(spans, (read) => void records.push(...read));
  return records;
}

function copy(records: readonly StreamRecord[], index: number, key: string): NewRecord {
  const { topic, value = null, headers = {} } = records[index % records.length] ?? {};
  return { topic: topic ?? '', key, value, headers };
}

/** The copies are scored and stored already. */
async function setToEnd(streams: Streams, brokers: string[]): Promise<void> {
  const admin = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  for (const [groupId, topic] of [
    [scoringGroup(pipeline), topics.events],
    [sinkGroup, topics.predictions],
  ] as const) {
    const ends = await streams.ends(topic);
    const partitions = ends.map(({ partition, high }) => ({ partition, offset: String(high) }));
    await admin.setOffsets({ groupId, topic, partitions });
  }
  await admin.disconnect();
}

/**
 * Inserts copies of the rows, as if there had been a thousand events a second until now. Every second id is
 * one that a client chose, which says nothing about the time.
 */
async function copyRows(system: BenchSystem, from: number, count: number, end: number): Promise<void> {
  const table = 'millrace.predictions_storage';
  const answer = await system.sql(`INSERT INTO ${table}
    SELECT * EXCEPT (number, ago, k) REPLACE (
      if(number % 2 = 0, toString(dateTimeToUUIDv7(toDateTime(now64(3) - ago))), toString(generateUUIDv4(number))) AS event_id,
      generateUUIDv4(number + 1) AS prediction_id,
      now64(3) - ago AS event_time,
      now64(3) - ago + toIntervalMillisecond(5) AS predicted_at,
      toInt32(number % 3) AS partition,
      toInt64(intDiv(number, 3)) AS offset)
    FROM (SELECT number, toIntervalMillisecond((${end} - number) * ${1000 / eventsPerSecond}) AS ago
      FROM numbers(${from}, ${count})) AS copies
    INNER JOIN (SELECT *, rowNumberInAllBlocks() AS k FROM (SELECT * FROM ${table} LIMIT ${templates})) AS originals
    ON copies.number % ${templates} = originals.k`);
  if (answer.includes('Exception')) throw new Error(answer);
}
