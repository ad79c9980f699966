import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../../platform/logger.js';
import { isControl } from '../protocol/record-batch.js';
import { isCommitMarker } from '../protocol/records.js';
import { replaceFile, sealText, syncFolder, unsealText } from './files.js';
import { ProducerStates } from './producer-states.js';
import type { ProducerStatesSnapshot } from './producer-states.js';
import { cleanedSuffix, Segment } from './segment.js';
import type { SegmentSummary } from './segment.js';

const checkpointName = 'checkpoint';

/** A summary of a log up to its end at some moment; recovery reads and checks only what was written after it. */
interface Checkpoint {
  segments: SegmentSummary[];
  producers: ProducerStatesSnapshot;
}

export interface LoadedLog {
  /** In order of offset, at least one; the last one takes the appends. */
  segments: Segment[];
  producers: ProducerStates;
}

/** Opens a partition's folder, making it when missing: restores the checkpoint, scans the rest, cuts a torn tail. */
export async function loadLog(folder: string, firstOffset: number, logger: Logger): Promise<LoadedLog> {
  await mkdir(folder, { recursive: true });
  const all = await readdir(folder);
  const names = all.filter((name) => name.endsWith('.log')).toSorted();
  for (const name of all.filter((each) => each.endsWith(cleanedSuffix))) await unlink(join(folder, name));
  const producers = new ProducerStates();
  if (names.length === 0) return { segments: [await createSegment(folder, firstOffset)], producers };

  const checkpoint = await readCheckpoint(folder);
  const known = new Map(checkpoint?.segments.map((summary) => [summary.baseOffset, summary]));
  if (checkpoint !== undefined) producers.restore(checkpoint.producers);
  const segments: Segment[] = [];
  for (const name of names) {
    const segment = new Segment(folder, Number.parseInt(name, 10));
    const summary = known.get(segment.baseOffset);
    const { size: fileLength } = await stat(segment.path);
    if (summary !== undefined && summary.size <= fileLength) segment.restore(summary);
    const before = segments.at(-1);
    if (before !== undefined && before.lastOffset >= segment.baseOffset) {
      // Compaction had merged it into the one before it when the broker was killed.
      await unlink(segment.path);
      continue;
    }
    await recoverSegment(segment, fileLength, producers, logger);
    segments.push(segment);
  }
  segments.at(-1)?.acquire();
  return { segments, producers };
}

export async function createSegment(folder: string, baseOffset: number): Promise<Segment> {
  const segment = new Segment(folder, baseOffset);
  segment.create();
  await syncFolder(folder);
  return segment;
}

/** @param producers - as of the end of the last segment; later appends must not be in it. */
export async function saveCheckpoint(
  folder: string,
  segments: readonly Segment[],
  producers: ProducerStatesSnapshot,
): Promise<void> {
  const checkpoint: Checkpoint = { segments: segments.map((segment) => segment.summary()), producers };
  await replaceFile(join(folder, checkpointName), sealText(JSON.stringify(checkpoint)));
}

/** A checkpoint holds positions: it must go before a segment it describes is replaced by another file. */
export async function dropCheckpoint(folder: string): Promise<void> {
  await unlink(join(folder, checkpointName)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
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

async function recoverSegment(
  segment: Segment,
  fileLength: number,
  producers: ProducerStates,
  logger: Logger,
): Promise<void> {
  if (segment.size === fileLength) return;
  await segment.recover(fileLength, (header, batch) => {
    producers.apply(header, isControl(header) && isCommitMarker(batch, header));
  });
  if (segment.size === fileLength) return;
  logger.warn({ path: segment.path, bytes: fileLength - segment.size }, 'Cut a torn tail off a log segment');
  await segment.truncateToSize();
}
