import { randomUUID } from 'node:crypto';
import { vi } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import type { StreamRecord } from '../../streams/records.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams } from '../../streams/streams.js';

/** The topics of `credit-default`, as a consumer with read_committed sees them. */
export interface LogContents {
  /** Event id by the record's position, `partition/offset`. */
  events: Map<string, string>;
  predictions: Prediction[];
}

/**
 * Reads both topics from their beginning until each event has a prediction and the predictions of `lastIds`
 * are there: nothing on the log is older than those.
 */
export async function readLog(
  { kafka, schema_registry: url }: { kafka: string[]; schema_registry: string },
  lastIds: readonly string[],
  timeoutMs: number,
): Promise<LogContents> {
  const streams = createStreams({ brokers: kafka, clientId: 'audit', logger: silentLogger });
  const serde = new Serde(new SchemaRegistryClient({ url }));
  const { type } = loadContract('shared', 'prediction');
  const [eventsTopic, predictionsTopic] = ['credit-default.events', 'credit-default.predictions'];
  const events = new Map<string, string>();
  const predictions: Prediction[] = [];
  const predicted = new Set<string>();
  const handle = async (records: StreamRecord[]): Promise<void> => {
    for (const record of records) {
      if (record.topic === eventsTopic) {
        events.set(placeOf(record), record.headers['ce_id']?.toString() ?? '');
      } else {
        const prediction = (await serde.decode(record.value, type)) as Prediction;
        predictions.push(prediction);
        predicted.add(prediction.event_id);
      }
    }
  };
  try {
    const groupId = `audit-${randomUUID()}`;
    const topics = [eventsTopic, predictionsTopic];
    await streams.consume({ groupId, topics, handle, maxBatch: 20_000 });
    await vi.waitFor(
      async () => {
        const ends = await streams.lag(groupId, [eventsTopic]);
        // No transactions write events, so offsets count records.
        const onTheLog = ends.reduce((sum, { end }) => sum + end, 0);
        const missing = lastIds.filter((id) => !predicted.has(id));
        if (events.size < onTheLog || predictions.length < events.size || missing.length > 0)
          throw new Error(
            `${onTheLog} events on the log: read ${events.size} of them and ${predictions.length} predictions; ${missing.length} of the last ones are missing`,
          );
      },
      { timeout: timeoutMs, interval: 100 },
    );
    return { events, predictions };
  } finally {
    await streams.close();
  }
}

export function placeOf({ partition, offset }: { partition: number; offset: number }): string {
  return `${partition}/${offset}`;
}
