import { LRUCache } from 'lru-cache';
import type { PredictionRow } from '../analytics/rows.js';

/** Finds the rows that are stored of some events. */
export type FindStored = (eventIds: readonly string[]) => Promise<PredictionRow[]>;

/**
 * The predictions made last, in front of those that are stored. It is what lets a repeated event id get the prediction
 * that it got the first time.
 */
export class PredictionCache {
  readonly #recent: LRUCache<string, PredictionRow>;
  readonly #findStored: FindStored;

  /** @param size - predictions kept in memory, about 1.5 KB each. */
  constructor(findStored: FindStored, size = 10_000) {
    this.#recent = new LRUCache({ max: size });
    this.#findStored = findStored;
  }

  remember(row: PredictionRow): void {
    this.#recent.set(keyOf(row.pipeline, row.event_id), row);
  }

  /** The prediction of an event, if it was made lately. */
  recall(pipeline: string, eventId: string): PredictionRow | undefined {
    return this.#recent.get(keyOf(pipeline, eventId));
  }

  /**
   * The first prediction that each event got in a pipeline, by event id; events without one are left out.
   *
   * @throws MillraceError with `retriable` when some are not in memory and the database can't be asked now.
   */
  async find(pipeline: string, eventIds: readonly string[]): Promise<Map<string, PredictionRow>> {
    const found = new Map<string, PredictionRow>();
    for (const id of eventIds) {
      const row = this.recall(pipeline, id);
      if (row !== undefined) found.set(id, row);
    }
    const others = eventIds.filter((id) => !found.has(id));
    if (others.length === 0) return found;
    const stored = (await this.#findStored(others)).filter((row) => row.pipeline === pipeline);
    for (const row of stored.toSorted((a, b) => b.predicted_at.localeCompare(a.predicted_at)))
      found.set(row.event_id, row);
    return found;
  }
}

function keyOf(pipeline: string, eventId: string): string {
  return `${pipeline}\n${eventId}`;
}
