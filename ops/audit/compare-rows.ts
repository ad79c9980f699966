import {
  type AuditQueries,
  blockSize,
  type BlockRows,
  type PlacesOf,
} from '../../analytics/audit-queries.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Span } from '../../streams/log-reader.js';
import type { Streams } from '../../streams/streams.js';
import { type Bounds, countInFlight } from './bounds.js';
import type { Findings, PartitionReport } from './report.js';

/** Status of a record without its own row. */
export type Verdict =
  /** Another record's row covers it. */
  | { kind: 'repeat' }
  /** It is not processed yet. */
  | { kind: 'in flight' }
  /** It cannot have a row and is counted elsewhere. */
  | { kind: 'elsewhere' }
  | { kind: 'missing'; eventId: string | null; detail: string };

export interface RowComparison {
  streams: Streams;
  queries: AuditQueries;
  found: Findings;
  topic: string;
  of: PlacesOf;
  bounds: readonly Bounds[];
  /** Returns a verdict for each record without a row, in order. */
  judge: (records: StreamRecord[]) => Promise<Verdict[]>;
}

/** Gaps closer than this are read together. */
const gapDistance = 1_000;
const judgedAtOnce = 1_000;

/**
 * Compares the records of a topic with their rows, by counting rows per block of offsets. Reads the log only
 * for a block with fewer rows than offsets, to distinguish lost records from transaction markers and from
 * aborted, compacted and repeated records.
 */
export async function compareRows(comparison: RowComparison): Promise<void> {
  const { queries, topic, of, bounds, found, streams } = comparison;
  const blocks = new Map(
    (await queries.blocks(of, topic, bounds)).map((rows) => [`${rows.partition}/${rows.block}`, rows]),
  );
  for (const bound of bounds) {
    const report = found.partition(topic, bound);
    report.in_flight += await countInFlight(streams, topic, bound);
    for (let block = Math.floor(bound.from / blockSize); block * blockSize < bound.to; block++) {
      const range = {
        partition: bound.partition,
        from: Math.max(bound.from, block * blockSize),
        to: Math.min(bound.to, (block + 1) * blockSize),
      };
      const rows = blocks.get(`${bound.partition}/${block}`);
      const covered = rows?.covered ?? 0;
      report.rows += covered;
      report.records += covered;
      await reportDuplicates(comparison, report, range, rows);
      if (covered < range.to - range.from) await compareGaps(comparison, report, range, covered);
    }
  }
}

/** Reports offsets that have more than one row in the documented views. */
export async function reportDuplicates(
  { queries, topic, of, found }: Pick<RowComparison, 'queries' | 'topic' | 'of' | 'found'>,
  report: PartitionReport,
  range: { partition: number; from: number; to: number },
  rows: BlockRows | undefined,
): Promise<void> {
  if (rows === undefined) return;
  const extra = rows.rows - rows.covered + rows.shadows - rows.shadowed;
  if (extra === 0) return;
  found.add(report, 'doubled', extra);
  if (found.room <= 0) return;
  const crowded = await queries.crowded(of, topic, range, found.room);
  const ids =
    of === 'events'
      ? await queries.eventIds(
          topic,
          range.partition,
          crowded.map(({ offset }) => offset),
        )
      : undefined;
  for (const { partition, offset, answers, deadLetters, shadows, others } of crowded) {
    const parts = [
      [answers, 'predictions as the answer'],
      [deadLetters, 'dead letters'],
      [shadows, 'shadow predictions'],
      [others, 'rows'],
    ] as const;
    const detail = `has ${parts.flatMap(([count, what]) => (count > 0 ? [`${count} ${what}`] : [])).join(' and ')} in ClickHouse`;
    found.name({ kind: 'doubled', topic, partition, offset, event_id: ids?.get(offset) ?? null, detail });
  }
}

async function compareGaps(
  { streams, queries, found, topic, of, judge }: RowComparison,
  report: PartitionReport,
  range: { partition: number; from: number; to: number },
  covered: number,
): Promise<void> {
  const offsets =
    covered === 0
      ? []
      : await queries.offsets(of, topic, range, ['answer', 'dead letter', 'outcome', 'model_event']);
  // The sink may have stored more rows since the count.
  report.rows += offsets.length - covered;
  report.records += offsets.length - covered;
  const withRow = new Set(offsets);
  const waiting: StreamRecord[] = [];
  const settle = async (records: StreamRecord[]): Promise<void> => {
    const verdicts = await judge(records);
    for (const [index, { partition, offset }] of records.entries()) {
      const verdict = verdicts[index];
      report.records++;
      if (verdict?.kind === 'repeat') report.repeats++;
      else if (verdict?.kind === 'elsewhere') report.rows++;
      else if (verdict?.kind === 'in flight') report.in_flight++;
      else if (verdict?.kind === 'missing') {
        found.add(report, 'missing');
        found.name({
          kind: 'missing',
          topic,
          partition,
          offset,
          event_id: verdict.eventId,
          detail: verdict.detail,
        });
      }
    }
  };
  await streams.read(gapsOf(topic, range, offsets), async (records) => {
    for (const record of records) if (!withRow.has(record.offset)) waiting.push(record);
    while (waiting.length >= judgedAtOnce) await settle(waiting.splice(0, judgedAtOnce));
  });
  await settle(waiting);
}

/** Returns spans that cover every offset of a range that is not in `offsets` (ascending). */
function gapsOf(
  topic: string,
  { partition, from, to }: { partition: number; from: number; to: number },
  offsets: readonly number[],
): Span[] {
  const spans: Span[] = [];
  let next = from;
  for (const offset of [...offsets, to]) {
    if (offset > next) {
      const last = spans.at(-1);
      if (last !== undefined && next - last.to < gapDistance) last.to = offset;
      else spans.push({ topic, partition, from: next, to: offset });
    }
    next = offset + 1;
  }
  return spans;
}
