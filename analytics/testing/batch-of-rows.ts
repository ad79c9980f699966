import type { Analytics } from '../client.js';
import type { BatchColumn, RowBatch } from '../batches/row-batch.js';
import { type Batch, newBatch } from '../insert.js';
import type { PredictionRow } from '../rows.js';

const text = { kind: 'text', nullable: false } as const;
const kinds: Record<keyof PredictionRow, Omit<BatchColumn, 'name'>> = {
  event_id: text,
  prediction_id: text,
  pipeline: text,
  model: text,
  model_version: text,
  model_digest: text,
  event_time: { kind: 'time', nullable: false },
  predicted_at: { kind: 'time', nullable: false },
  score: { kind: 'double', nullable: false },
  label: { kind: 'text', nullable: true },
  features: text,
  source: text,
  topic: text,
  partition: { kind: 'int', nullable: false },
  offset: { kind: 'long', nullable: false },
  schema_id: { kind: 'int', nullable: true },
  latency_ms: { kind: 'double', nullable: false },
  role: text,
  model_event: { kind: 'long', nullable: false },
  model_event_at: { kind: 'time', nullable: true },
  outputs: text,
};

/** Returns rows in the form of batch that a connection takes. */
export function batchOfRows(
  analytics: Pick<Analytics, 'insertColumns'>,
  rows: readonly PredictionRow[],
): Batch {
  const columns = Object.entries(kinds).map(([name, kind]) => ({ name, ...kind }));
  const batch = newBatch(analytics, columns);
  for (const row of rows) {
    for (const { name, kind } of columns) write(batch, kind, row[name as keyof PredictionRow]);
    batch.endRow();
  }
  return batch;
}

function write(batch: RowBatch, kind: BatchColumn['kind'], value: string | number | null): void {
  if (value === null) return batch.null();
  if (kind === 'double') return batch.double(Number(value));
  if (kind === 'time') return batch.time(Date.parse(String(value)));
  if (kind !== 'text') return batch.integer(Number(value));
  const bytes = Buffer.from(String(value));
  return batch.text(bytes, 0, bytes.length);
}
