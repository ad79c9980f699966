/** What may be wrong with a place on the log. */
export type FindingKind = 'missing' | 'doubled' | 'stray';

/** One place where log and rows disagree. */
export interface Finding {
  /** `missing`: it has not become what it must; `doubled`: it has become so twice; `stray`: there is something that nothing led to. */
  kind: FindingKind;
  topic: string;
  partition: number;
  offset: number;
  /** Of the event that it is about, where it is known. */
  event_id: string | null;
  detail: string;
}

/** One partition's figures. Counts are of records, each of which is done, on its way, or missing. */
export interface PartitionReport {
  topic: string;
  partition: number;
  /** Offsets compared: from `from` up to, and without, `to`. What comes behind is on its way. */
  from: number;
  to: number;
  /** Committed records among them. Where no record was read, each offset has its row. */
  records: number;
  /** Records that have their own row (of events: a prediction's or a dead letter's). */
  rows: number;
  /** Records of an event that another record's row stands for: the same id again, or a correction of an outcome. */
  repeats: number;
  in_flight: number;
  missing: number;
  doubled: number;
  stray: number;
}

export interface AuditReport {
  /** Whether nothing is missing, doubled or stray. */
  clean: boolean;
  /** Whether the log itself was read, with its predictions and dead letters. */
  deep: boolean;
  /** What could not be waited for or compared. */
  unfinished: string[];
  partitions: PartitionReport[];
  /** The first ones; `found` counts all. */
  findings: Finding[];
  found: number;
}

/** Collects what is found: counts all of it, keeps the first ones by name. */
export class Findings {
  readonly partitions: PartitionReport[] = [];
  readonly named: Finding[] = [];
  found = 0;
  readonly #limit: number;
  readonly #byPlace = new Map<string, PartitionReport>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many may be named yet. */
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

  /** @param count - how many there are, when only some of them are named. */
  add(report: PartitionReport, kind: FindingKind, count = 1): void {
    report[kind] += count;
    this.found += count;
  }

  /** Names one that {@link add} has counted. */
  name(finding: Finding): void {
    if (this.room > 0) this.named.push(finding);
  }
}
