/** Kind of disagreement between the log and the rows. */
export type FindingKind = 'missing' | 'doubled' | 'stray';

/** One offset where log and rows disagree. */
export interface Finding {
  /**
   * `missing`: the record has no result. `doubled`: it has two. `stray`: a result without a source record.
   */
  kind: FindingKind;
  topic: string;
  partition: number;
  offset: number;
  /** Event id, if known. */
  event_id: string | null;
  detail: string;
}

/** Counts of one partition. */
export interface PartitionReport {
  topic: string;
  partition: number;
  /** Compared offsets: from `from` to `to`, exclusive. Later records are in flight. */
  from: number;
  to: number;
  /** Committed records among these offsets. */
  records: number;
  /** Records with their own row. For events: a prediction's or dead letter's row. */
  rows: number;
  /** Records covered by another record's row: a repeated event id, or an outcome that was corrected later. */
  repeats: number;
  in_flight: number;
  missing: number;
  doubled: number;
  stray: number;
}

export interface AuditReport {
  /** Whether nothing is missing, doubled or stray. */
  clean: boolean;
  /** Whether predictions and dead letters on the log were read. */
  deep: boolean;
  /** What was not processed in time or could not be compared. */
  unfinished: string[];
  partitions: PartitionReport[];
  /** The first findings. `found` counts all. */
  findings: Finding[];
  found: number;
}

/** Counts all findings, and keeps the first ones. */
export class Findings {
  readonly partitions: PartitionReport[] = [];
  readonly named: Finding[] = [];
  found = 0;
  readonly #limit: number;
  readonly #byPlace = new Map<string, PartitionReport>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many more findings are kept. */
  get room(): number {
    return this.#limit - this.named.length;
  }

  partition(
    topic: string,
    { partition, from, to }: { partition: number; from: number; to: number },
  ): PartitionReport {
    const key = `${topic}/${partition}`;
    const known = this.#byPlace.get(key);
    if (known !== undefined) return known;
    const counts = { records: 0, rows: 0, repeats: 0, in_flight: 0, missing: 0, doubled: 0, stray: 0 };
    const report = { topic, partition, from, to, ...counts };
    this.#byPlace.set(key, report);
    this.partitions.push(report);
    return report;
  }

  /** Counts findings. */
  add(report: PartitionReport, kind: FindingKind, count = 1): void {
    report[kind] += count;
    this.found += count;
  }

  /** Keeps a finding that {@link add} has counted. */
  name(finding: Finding): void {
    if (this.room > 0) this.named.push(finding);
  }
}
