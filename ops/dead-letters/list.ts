import type { Config } from '../../platform/config.js';
import {
  type DeadLetterFilter,
  eachDeadLetter,
  matches,
  readResolutions,
} from '../../processors/dead-letters/search.js';
import type { StoredDeadLetter } from '../../processors/dead-letters/dead-letter.js';
import type { Resolution } from '../../processors/dead-letters/resolutions.js';
import { withLog } from '../find-engines.js';
import { toTable } from '../table.js';
import { printable } from './printable.js';

/** Options of all dead-letter commands. */
export interface Selection {
  pipelines: string[];
  filter: DeadLetterFilter;
}

export interface ListOptions extends Selection {
  /** `open`, `redriven`, `discarded` or `all`. */
  state: string;
  /** Maximum number of dead letters shown. */
  limit: number;
  json?: boolean;
}

/** A dead letter without its record. */
export type Summary = ReturnType<typeof summaryOf>;

/** Prints the newest selected dead letters, and their count by reason. */
export async function listDeadLetters(config: Config, options: ListOptions): Promise<void> {
  const { newest, reasons } = await withLog(config, async (streams) => {
    const { pipelines, filter, state, limit } = options;
    const resolutions = await readResolutions(streams, pipelines);
    const counts = new Map<string, number>();
    let kept: Summary[] = [];
    await eachDeadLetter(streams, pipelines, (deadLetters) => {
      for (const deadLetter of deadLetters) {
        const resolution = resolutions.get(deadLetter.id);
        if (!matches(deadLetter, filter) || ![stateOf(resolution), 'all'].includes(state)) continue;
        counts.set(deadLetter.reason, (counts.get(deadLetter.reason) ?? 0) + 1);
        kept.push(summaryOf(deadLetter, resolution));
      }
      // Bounds the memory for any number of dead letters.
      if (kept.length > 2 * limit + 1000) kept = newestOf(kept, limit);
    });
    return { newest: newestOf(kept, limit), reasons: counts };
  });
  const found = [...reasons.values()].reduce((sum, count) => sum + count, 0);
  if (options.json) {
    const answer = { found, reasons: Object.fromEntries(reasons), dead_letters: newest };
    console.log(printable(JSON.stringify(answer)));
  } else {
    if (found > 0) console.log(`${describe(newest)}\n`);
    console.log(toFooter(newest.length, found, reasons, options.state));
  }
}

export function summaryOf(deadLetter: StoredDeadLetter, resolution: Resolution | undefined) {
  return {
    dead_letter_id: deadLetter.id,
    pipeline: deadLetter.pipeline,
    reason: deadLetter.reason,
    detail: deadLetter.detail,
    failed_at: new Date(deadLetter.failedAt).toISOString(),
    event_id: deadLetter.eventId,
    topic: deadLetter.topic,
    partition: deadLetter.partition,
    offset: deadLetter.offset,
    schema_id: deadLetter.schemaId,
    redriven_before: deadLetter.redriven,
    state: stateOf(resolution),
    resolved_at: resolution === undefined ? null : new Date(resolution.resolvedAt).toISOString(),
    note: resolution?.note ?? null,
  };
}

function stateOf(resolution: Resolution | undefined): string {
  return resolution?.kind ?? 'open';
}

function newestOf(deadLetters: Summary[], limit: number): Summary[] {
  return deadLetters.toSorted((a, b) => (a.failed_at < b.failed_at ? 1 : -1)).slice(0, limit);
}

function describe(deadLetters: readonly Summary[]): string {
  const rows = deadLetters.map((deadLetter) => [
    deadLetter.failed_at,
    deadLetter.reason,
    deadLetter.state +
      (deadLetter.redriven_before === 0 ? '' : `, redriven ${deadLetter.redriven_before}× before`),
    shorten(deadLetter.event_id ?? '', 40),
    deadLetter.dead_letter_id,
    deadLetter.pipeline,
    shorten(deadLetter.detail, 60),
  ]);
  const header = ['FAILED AT', 'REASON', 'STATE', 'EVENT', 'ID', 'PIPELINE', 'DETAIL'];
  return toTable([header, ...rows].map((row) => row.map(printable)));
}

function toFooter(shown: number, found: number, reasons: ReadonlyMap<string, number>, state: string): string {
  const counts = [...reasons].toSorted((a, b) => b[1] - a[1]).map(([reason, count]) => `${reason} ${count}`);
  const all = `${found} dead letter${found === 1 ? '' : 's'}${state === 'all' ? '' : ` ${state}`}`;
  const rest = shown < found ? `, the newest ${shown} above` : '';
  return `${all}${rest}${counts.length === 0 ? '.' : `: ${printable(counts.join(', '))}.`}`;
}

function shorten(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
