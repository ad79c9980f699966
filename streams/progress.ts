import { MillraceError } from '../platform/errors.js';
import { pause } from '../platform/backoff.js';

/** Committed offsets of a group as the broker knows them: per partition of a topic the next offset to read. */
export type CommittedOffsets = (topic: string) => Promise<Map<number, number>>;

const pollMs = 250;

/** How far a group has come, for those who wait for a certain record. */
export class Progress {
  readonly #next = new Map<string, number>();
  readonly #waiting = new Set<() => void>();
  readonly #committed: CommittedOffsets;

  constructor(committed: CommittedOffsets) {
    this.#committed = committed;
  }

  /** Everything before `next` is processed and committed. */
  reached(topic: string, partition: number, next: number): void {
    this.#next.set(`${topic}/${partition}`, next);
    for (const wake of this.#waiting) wake();
  }

  /**
   * Resolves once the record at `offset` is processed and committed, by this member or by another of the group.
   *
   * @throws MillraceError `PROCESSING_TIMEOUT`, retriable.
   */
  async whenProcessed(topic: string, partition: number, offset: number, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while ((this.#next.get(`${topic}/${partition}`) ?? -1) <= offset) {
      const committed = await this.#committed(topic).catch(() => new Map<number, number>());
      if ((committed.get(partition) ?? -1) > offset) return;
      const left = deadline - Date.now();
      if (left <= 0)
        throw new MillraceError(
          'PROCESSING_TIMEOUT',
          `Offset ${offset} of ${topic}/${partition} was not processed within ${timeoutMs} ms.`,
        );
      const woken = new AbortController();
      const wake = (): void => woken.abort();
      this.#waiting.add(wake);
      if ((this.#next.get(`${topic}/${partition}`) ?? -1) <= offset)
        await pause(Math.min(left, pollMs), woken.signal);
      this.#waiting.delete(wake);
    }
  }
}
