import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../../platform/errors.js';
import type { Logger } from '../../../platform/logger.js';
import { isControl } from '../protocol/record-batch.js';
import { isCommitMarker } from '../protocol/records.js';
import { keepDamaged } from './damage.js';
import { replaceFile, sealText, syncFolder, unsealText } from './files.js';
import { intactBatches } from './intact-batches.js';
import type { FoundBatch } from './intact-batches.js';
import { ProducerStates } from './producer-states.js';
import type { ProducerStatesSnapshot } from './producer-states.js';
import { cleanedSuffix, Segment, segmentFileName } from './segment.js';
import type { SegmentSummary } from './segment.js';

const checkpointName = 'checkpoint';

/** A summary of a log up to its end at some moment; recovery reads and checks only later records. */
interface Checkpoint {
  segments: SegmentSummary[];
  producers: ProducerStatesSnapshot;
}

export interface LoadedLog {
  /** In order of offset, at least one; the last one takes the appends. */
  segments: Segment[];
  producers: ProducerStates;
}

/** State of a log from other sources than its files. */
export interface KnownLog {
  /** The first offset that was not deleted. */
  start: number;
  /** Offsets below this were assigned. */
  end: number;
  /**
   * The highest offset that a group has committed: without a checkpoint it tells the earlier end of the log.
   * Default 0.
   */
  committed?: number;
  /** Whether it may have no file. */
  isNew: boolean;
  /** Whether offsets may be missing, as after compaction. */
  hasGaps: boolean;
}

/**
 * Opens a partition's folder, creating it when missing: restores the checkpoint, scans the rest, truncates a
 * torn tail.
 *
 * Anything that no crash can cause is damage: an intact batch behind a bad byte, a file that is missing or
 * shorter than the checkpoint says, a closed segment with a bad end. The file is then kept beside (see {@link
 * keepDamaged}), intact batches are still served, and no assigned offset is assigned again.
 */
export async function loadLog(folder: string, known: KnownLog, logger: Logger): Promise<LoadedLog> {
  await mkdir(folder, { recursive: true });
  const all = await readdir(folder);
  const names = all.filter((name) => name.endsWith('.log')).toSorted();
  for (const name of all.filter((each) => each.endsWith(cleanedSuffix))) await unlink(join(folder, name));
  const checkpoint = await readCheckpoint(folder);
  const recovery = new Recovery(folder, known, checkpoint, logger);
  if (names.length > 0 || !known.isNew) await recovery.noteMissing(names);
  for (const [index, name] of names.entries()) await recovery.add(name, names[index + 1]);
  return await recovery.finish();
}

/** Adds a log's files one after another, in order. */
class Recovery {
  readonly #segments: Segment[] = [];
  readonly #producers = new ProducerStates();
  readonly #folder: string;
  readonly #known: KnownLog;
  readonly #summaries: ReadonlyMap<number, SegmentSummary>;
  readonly #logger: Logger;
  /** The offset after the last one in the checkpoint. */
  readonly #checkpointed: number;
  #isDamaged = false;

  constructor(folder: string, known: KnownLog, checkpoint: Checkpoint | undefined, logger: Logger) {
    this.#folder = folder;
    this.#known = known;
    this.#logger = logger;
    this.#summaries = new Map(checkpoint?.segments.map((summary) => [summary.baseOffset, summary]));
    this.#checkpointed = (checkpoint?.segments.at(-1)?.lastOffset ?? -1) + 1;
    if (checkpoint !== undefined) this.#producers.restore(checkpoint.producers);
  }

  /** Segments that should exist and do not. */
  async noteMissing(names: readonly string[]): Promise<void> {
    const bases = names.map((name) => Number.parseInt(name, 10));
    const start = this.#summaries.values().next().value?.baseOffset ?? this.#known.start;
    const first = bases[0] ?? Infinity;
    if (first > start && !this.#summaries.has(start))
      await this.#damage(start, 'its first segment is missing');
    for (const { baseOffset, lastOffset } of this.#summaries.values()) {
      const isDeleted = baseOffset < this.#known.start && lastOffset < this.#known.start;
      if (isDeleted || bases.includes(baseOffset)) continue;
      await this.#damage(baseOffset, `the segment with offsets ${baseOffset} to ${lastOffset} is missing`);
    }
  }

  async add(name: string, nextName: string | undefined): Promise<void> {
    const segment = new Segment(this.#folder, Number.parseInt(name, 10));
    const next = nextName === undefined ? undefined : Number.parseInt(nextName, 10);
    const { baseOffset } = segment;
    const summary = this.#summaries.get(baseOffset);
    const before = this.#segments.at(-1);
    if (before !== undefined && before.lastOffset >= baseOffset) {
      // Compaction had merged it into the one before it when the broker was killed.
      await unlink(segment.path);
      return;
    }
    const expected = before === undefined ? baseOffset : before.lastOffset + 1;
    if (before !== undefined && expected < baseOffset) {
      if (!this.#known.hasGaps && !this.#isDamaged)
        await this.#damage(expected, `offsets ${expected} to ${baseOffset - 1} are missing`);
      // It covers the whole range, so that the next start does not report the segments again.
      before.lastOffset = baseOffset - 1;
    }
    const { size: fileLength } = await stat(segment.path);
    if (summary !== undefined && summary.size <= fileLength) segment.restore(summary);
    this.#segments.push(await this.#recover(segment, fileLength, next, summary));
  }

  async finish(): Promise<LoadedLog> {
    const folder = this.#folder;
    const segments = this.#segments;
    const producers = this.#producers;
    const committed = this.#summaries.size === 0 ? (this.#known.committed ?? 0) : 0;
    const end = Math.max(this.#known.end, this.#known.start, this.#checkpointed, committed);
    const last = segments.at(-1);
    if (last === undefined) segments.push(await createSegment(folder, end));
    else if (last.lastOffset + 1 < end) {
      if (!this.#isDamaged)
        await this.#damage(
          last.baseOffset,
          `it ends at ${last.lastOffset + 1}, and went up to ${end} before`,
        );
      last.lastOffset = end - 1;
      segments.push(await createSegment(folder, end));
    }
    if (this.#isDamaged) await saveCheckpoint(folder, segments, producers.snapshot());
    segments.at(-1)?.acquire();
    return { segments, producers };
  }

  async #recover(
    segment: Segment,
    fileLength: number,
    next: number | undefined,
    summary: SegmentSummary | undefined,
  ): Promise<Segment> {
    const { size: scannedFrom, lastOffset: scannedAfter } = segment;
    let count = 0;
    // Without a checkpoint it may have been merged with the next ones, whose files are not removed yet.
    const isMerged = this.#known.hasGaps && this.#summaries.size === 0;
    const below = isMerged ? Infinity : (next ?? Infinity);
    await segment.recover(fileLength, { hasGaps: this.#known.hasGaps, below }, (batch) => {
      count++;
      this.#apply(batch);
    });
    const isShort = summary !== undefined && summary.size > fileLength;
    if (segment.size === fileLength && !isShort) return segment;
    const { batches, intact } = intactBatches(await segment.rest(scannedFrom), scannedAfter);
    if (next === undefined && !isShort && intact === count && batches.length === count) {
      this.#logger.warn(
        { path: segment.path, bytes: fileLength - segment.size },
        'Cut a torn tail off a log segment',
      );
      await segment.truncateToSize();
      return segment;
    }
    const lost = `not all of its ${fileLength} bytes are intact batches, from byte ${segment.size} on`;
    await this.#damage(segment.baseOffset, isShort ? `${lost}, and it had ${summary.size} bytes` : lost);
    for (const batch of batches) if (batch.header.baseOffset > segment.lastOffset) this.#apply(batch);
    segment.lastOffset =
      next === undefined ? Math.max(segment.lastOffset, summary?.lastOffset ?? -1) : next - 1;
    const repaired = await repairSegment(segment, this.#folder, next ?? Infinity);
    await repaired.moveTo(segment.path);
    await syncFolder(this.#folder);
    repaired.release();
    return repaired;
  }

  /** The checkpoint's states include earlier records. */
  #apply({ header, bytes }: FoundBatch): void {
    if (header.baseOffset >= this.#checkpointed)
      this.#producers.apply(header, isControl(header) && isCommitMarker(bytes, header));
  }

  async #damage(baseOffset: number, what: string): Promise<void> {
    this.#isDamaged = true;
    await keepDamaged({ path: join(this.#folder, segmentFileName(baseOffset)), what }, this.#logger);
  }
}

/**
 * Writes the intact batches of a damaged segment to a new file beside it, which the caller moves into place.
 *
 * @param below - where the next segment begins.
 */
export async function repairSegment(segment: Segment, folder: string, below: number): Promise<Segment> {
  const { batches } = intactBatches(await segment.rest(0), segment.baseOffset - 1);
  const kept = batches.filter(({ header }) => header.lastOffset < below);
  // Compaction may be writing another one.
  const repaired = new Segment(folder, segment.baseOffset, `.repaired${cleanedSuffix}`);
  repaired.create();
  try {
    await repaired.append(kept.map(({ bytes }) => bytes));
  } catch (error) {
    repaired.release();
    throw error;
  }
  for (const { header } of kept) repaired.note(header);
  // It covers the whole range of offsets, however few records remain.
  repaired.lastOffset = Math.max(repaired.lastOffset, segment.lastOffset);
  return repaired;
}

export async function createSegment(folder: string, baseOffset: number): Promise<Segment> {
  const segment = new Segment(folder, baseOffset);
  segment.create();
  await syncFolder(folder);
  return segment;
}

/** @param producers - at the end of the last segment; without later appends. */
export async function saveCheckpoint(
  folder: string,
  segments: readonly Segment[],
  producers: ProducerStatesSnapshot,
): Promise<void> {
  const checkpoint: Checkpoint = { segments: segments.map((segment) => segment.summary()), producers };
  await replaceFile(join(folder, checkpointName), sealText(JSON.stringify(checkpoint)));
}

/** A checkpoint contains positions: it must be removed before another file replaces a segment in it. */
export async function dropCheckpoint(folder: string): Promise<void> {
  await unlink(join(folder, checkpointName)).catch((error: unknown) => {
    if (!isSystemError(error, 'ENOENT')) throw error;
  });
  await syncFolder(folder);
}

async function readCheckpoint(folder: string): Promise<Checkpoint | undefined> {
  try {
    const text = unsealText(await readFile(join(folder, checkpointName), 'utf8'));
    if (text === undefined) return undefined;
    const checkpoint: Checkpoint = JSON.parse(text);
    return checkpoint;
  } catch {
    // Without a checkpoint everything is scanned: slower, with the same result.
    return undefined;
  }
}
