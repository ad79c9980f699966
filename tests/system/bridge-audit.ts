import { silentLogger } from '../../platform/logger.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import type { StreamRecord } from '../../streams/records.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams } from '../../streams/streams.js';
import { type AuditedSystem, sql } from './audit.js';
import type { QueuedMessage, QueuedResult } from './queue-producer.js';

interface Row {
  event_id: string;
  prediction_id: string;
  score: number;
  features: string;
}

/** Where each message was found, by its number. */
type Found<T> = Map<number, T[]>;

/** Counts, and all problems: empty when nothing was lost or doubled. */
export interface BridgeReport {
  events: number;
  predictions: number;
  rows: number;
  results: number;
  replies: number;
  problems: string[];
}

/**
 * Compares the messages that a producer published to a queue with the results. Each message has one record on
 * the log, one prediction and one row, at least one result and, if requested, one reply, all with that
 * prediction's id.
 */
export async function auditBridge(
  published: readonly QueuedMessage[],
  results: readonly QueuedResult[],
  replies: readonly QueuedResult[],
  system: AuditedSystem,
): Promise<BridgeReport> {
  const { events, predictions } = await readLog(system);
  const rows = byNumber(
    await sql<Row>(
      system.clickhouse,
      'SELECT event_id, prediction_id, score, features FROM millrace.predictions',
    ),
    ({ features }) => JSON.parse(features) as object,
  );
  const resultsFound = byNumber(results, ({ body }) => featuresOf(body));
  const repliesFound = grouped(replies, ({ correlationId }) => correlationId);
  const problems: string[] = [];
  const once = <T>(number: number, what: string, found: readonly T[] = []): T | undefined => {
    if (found.length !== 1) problems.push(`message ${number} is ${found.length} ${what}`);
    return found[0];
  };
  for (const [number, message] of published.entries()) {
    const event = once(number, 'records on the log', events.get(number));
    const prediction = once(number, 'predictions on the log', predictions.get(number));
    const row = once(number, 'rows', rows.get(number));
    if (message.id !== undefined && event !== message.id)
      problems.push(`message ${number} with the message_id ${message.id} is the event ${event}`);
    if (row?.event_id !== event || row?.prediction_id !== prediction?.prediction_id)
      problems.push(`the row of message ${number} is not of its event or prediction`);
    const given = resultsFound.get(number) ?? [];
    if (given.length === 0) problems.push(`message ${number} has no result`);
    const answers = message.correlationId === undefined ? [] : repliesFound.get(message.correlationId);
    if (answers === undefined) problems.push(`message ${number} has no reply`);
    for (const { id, body } of [...given, ...(answers ?? [])])
      if (id !== row?.prediction_id || body['score'] !== row?.score)
        problems.push(`message ${number} has a result ${String(id)} with the score ${String(body['score'])}`);
  }
  return {
    events: sizeOf(events),
    predictions: sizeOf(predictions),
    rows: sizeOf(rows),
    results: results.length,
    replies: replies.length,
    problems: problems.slice(0, 20),
  };
}

/**
 * Reads event ids and predictions from the topics of `credit-default`, as a consumer of committed records.
 */
async function readLog({ kafka, schema_registry: url }: AuditedSystem): Promise<{
  events: Found<string>;
  predictions: Found<Prediction>;
}> {
  const streams = createStreams({ brokers: kafka, clientId: 'audit', logger: silentLogger });
  const serde = new Serde(new SchemaRegistryClient({ url }));
  const event = loadContract('credit-default', 'event');
  const prediction = loadContract('shared', 'prediction');
  const topics = ['credit-default.events', 'credit-default.predictions'];
  const events: { id: string; fields: object }[] = [];
  const predictions: Prediction[] = [];
  const handle = async (records: StreamRecord[]): Promise<void> => {
    for (const { topic, value, headers } of records) {
      if (topic === topics[0])
        events.push({
          id: headers['ce_id']?.toString() ?? '',
          fields: (await serde.decode(value, event.type)) as object,
        });
      else predictions.push((await serde.decode(value, prediction.type)) as Prediction);
    }
  };
  try {
    const follower = await streams.follow({ topics, handle });
    await follower.whenCaughtUp({ timeoutMs: 60_000 });
    await follower.stop();
  } finally {
    await streams.close();
  }
  const found = byNumber(events, ({ fields }) => fields);
  return {
    events: new Map([...found].map(([number, records]) => [number, records.map(({ id }) => id)])),
    predictions: byNumber(predictions, ({ features }) => JSON.parse(features) as object),
  };
}

function byNumber<T>(items: readonly T[], fieldsOf: (item: T) => object): Found<T> {
  return grouped(items, (item) => Number((fieldsOf(item) as { BILL_AMT1?: unknown }).BILL_AMT1));
}

function grouped<T, Key>(items: readonly T[], keyOf: (item: T) => Key): Map<Key, T[]> {
  const groups = new Map<Key, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

function sizeOf(found: Found<unknown>): number {
  return [...found.values()].reduce((sum, { length }) => sum + length, 0);
}

function featuresOf({ features }: Record<string, unknown>): object {
  return (typeof features === 'string' ? JSON.parse(features) : features) as object;
}
