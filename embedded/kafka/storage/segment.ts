import { closeSync, constants, fstatSync, ftruncate, openSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { batchSize, headerLength, isIntact, readHeader } from '../protocol/record-batch.js';
import type { BatchHeader } from '../protocol/record-batch.js';
import { dataSync, readAt, writeAllAt } from './files.js';
import type { FoundBatch } from './intact-batches.js';

const truncate = promisify(ftruncate);

/** Minimum bytes of log per index entry: the maximum distance from the start of a read to its batch. */
const indexIntervalBytes = 64 * 1024;
/** Suffix of a compacted or repaired segment that is still being written. */
export const cleanedSuffix = '.cleaned';
const scanChunkBytes = 1024 * 1024;
/** No request is this large: a larger length is damage, and is not used for a read. */
const largestBatch = 64 * 1024 * 1024;

/** A segment's part of a checkpoint, so that it need not be scanned again. */
export interface SegmentSummary {
  baseOffset: number;
  size: number;
  lastOffset: number;
  maxTimestamp: number;
  firstTimestamp: number;
  indexOffsets: number[];
  indexPositions: number[];
}

export function segmentFileName(baseOffset: number): string {
  return `${String(baseOffset).padStart(20, '0')}.log`;
}

/** The file does not contain what was written to it, from a batch at `position` on. */
export class DamagedSegment extends Error {
  readonly segment: Segment;

  constructor(segment: Segment, position: number) {
    super(`${segment.path} does not hold an intact batch at byte ${position}`);
    this.segment = segment;
  }
}

/**
 * One file of batches in wire format, with a sparse in-memory index from offset to position. `size` counts
 * durable bytes only; bytes beyond it are not served.
 */
export class Segment {
  readonly baseOffset: number;
  path: string;
  size = 0;
  lastOffset: number;
  maxTimestamp = -1;
  firstTimestamp = -1;
  #indexOffsets: number[] = [];
  #indexPositions: number[] = [];
  #fd: number | undefined;
  #users = 0;

  /** @param suffix - of the file while it is being written, see {@link moveTo}. */
  constructor(folder: string, baseOffset: number, suffix = '') {
    this.baseOffset = baseOffset;
    this.lastOffset = baseOffset - 1;
    this.path = join(folder, `${segmentFileName(baseOffset)}${suffix}`);
  }

  /** Creates the file, empty, and keeps it open until the matching {@link release}. */
  create(): void {
    this.#fd = openSync(this.path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o644);
    this.#users++;
  }

  /**
   * Opens the file in the tick of the call, and keeps it open until the matching {@link release}, even if it
   * is replaced or deleted meanwhile.
   */
  acquire(): number {
    this.#fd ??= openSync(this.path, constants.O_RDWR);
    this.#users++;
    return this.#fd;
  }

  release(): void {
    this.#users--;
    if (this.#users > 0 || this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  /**
   * Writes batches after the durable end and waits for the disk. The caller then calls {@link note} for each.
   */
  async append(batches: readonly Buffer[]): Promise<void> {
    const fd = this.acquire();
    try {
      await writeAllAt(fd, batches, this.size);
      await dataSync(fd);
    } finally {
      this.release();
    }
  }

  /** Adds a durable batch that starts at the current end to the index. */
  note(header: BatchHeader): void {
    const lastIndexed = this.#indexPositions.at(-1);
    if (lastIndexed === undefined || this.size - lastIndexed >= indexIntervalBytes) {
      this.#indexOffsets.push(header.baseOffset);
      this.#indexPositions.push(this.size);
    }
    this.size += header.size;
    this.lastOffset = header.lastOffset;
    this.maxTimestamp = Math.max(this.maxTimestamp, header.maxTimestamp);
    if (this.firstTimestamp < 0) this.firstTimestamp = header.maxTimestamp;
  }

  /**
   * Returns the whole batches from the one that contains `offset` (or the next one) on, as one buffer: as
   * many as fit `maxBytes` and end below `upTo`, but at least one. Empty when this segment has none.
   *
   * @throws DamagedSegment if the file does not contain what was written.
   */
  async read(offset: number, upTo: number, maxBytes: number): Promise<Buffer> {
    const fd = this.acquire();
    try {
      let position = this.#positionBefore(offset);
      let before = this.baseOffset - 1;
      for (;;) {
        if (position === this.size) return Buffer.alloc(0);
        const bytes = await readAt(
          fd,
          position,
          Math.min(this.size - position, maxBytes + indexIntervalBytes),
        );
        let at = 0;
        let start = -1;
        while (bytes.length - at >= headerLength) {
          const header = this.#headerOf(bytes, at, position, before);
          const isWanted = header.lastOffset >= offset;
          if (isWanted) {
            if (header.lastOffset >= upTo) break;
            const isWhole = at + header.size <= bytes.length;
            if (start < 0 && !isWhole) return await this.#readBatch(fd, position + at, header.size);
            if (!isWhole || (start >= 0 && at + header.size - start > maxBytes)) break;
            this.#checkCrc(bytes, at, position);
            if (start < 0) start = at;
          }
          before = header.lastOffset;
          at += header.size;
        }
        if (start >= 0) return bytes.subarray(start, at);
        if (bytes.length - at >= headerLength) return Buffer.alloc(0);
        if (at === 0) throw new DamagedSegment(this, position);
        position += at;
      }
    } finally {
      this.release();
    }
  }

  /**
   * Visits every batch from `position` on, in order, until `visit` returns `false`; whole batches are passed.
   *
   * @throws DamagedSegment if the file does not contain what was written.
   */
  async forEachBatch(
    position: number,
    visit: (header: BatchHeader, batch: Buffer) => boolean | void,
  ): Promise<void> {
    let before = this.baseOffset - 1;
    const end = await this.#scan(position, this.size, (header, bytes, at, start) => {
      this.#headerOf(bytes, at, start, before);
      this.#checkCrc(bytes, at, start);
      before = header.lastOffset;
      return visit(header, bytes.subarray(at, at + header.size));
    });
    if (end !== undefined) throw new DamagedSegment(this, end);
  }

  /**
   * Reads the file after the known end, adds every intact batch, and passes it on. Stops at the first byte
   * that is not part of an intact batch with the next offset; `size` is then less than the file's length.
   *
   * @param hasGaps - whether offsets may be missing between batches, as after compaction.
   * @param below - where the next segment begins.
   */
  async recover(
    fileLength: number,
    { hasGaps, below }: { hasGaps: boolean; below: number },
    visit: (batch: FoundBatch) => void,
  ): Promise<void> {
    await this.#scan(this.size, fileLength, (header, bytes, at) => {
      const { baseOffset, lastOffset } = header;
      const expected = this.lastOffset + 1;
      const isNext = baseOffset === expected || (hasGaps && baseOffset > expected);
      if (!isNext || lastOffset < baseOffset || lastOffset >= below) return false;
      if (!isIntact(bytes, at, bytes.length - at)) return false;
      visit({ header, bytes: bytes.subarray(at, at + header.size) });
      this.note(header);
      return true;
    });
  }

  /** Returns the file's content from `position` on. */
  async rest(position: number): Promise<Buffer> {
    const fd = this.acquire();
    try {
      const { size } = fstatSync(fd);
      return await readAt(fd, position, Math.max(0, size - position));
    } finally {
      this.release();
    }
  }

  /** Truncates the file at its durable end. */
  async truncateToSize(): Promise<void> {
    const fd = this.acquire();
    try {
      await truncate(fd, this.size);
      await dataSync(fd);
    } finally {
      this.release();
    }
  }

  /**
   * Renames the file to its final name, replacing an existing file. Open readers keep the file they opened.
   */
  async moveTo(path: string): Promise<void> {
    await rename(this.path, path);
    this.path = path;
  }

  summary(): SegmentSummary {
    const { baseOffset, size, lastOffset, maxTimestamp, firstTimestamp } = this;
    return {
      baseOffset,
      size,
      lastOffset,
      maxTimestamp,
      firstTimestamp,
      indexOffsets: this.#indexOffsets,
      indexPositions: this.#indexPositions,
    };
  }

  restore(summary: SegmentSummary): void {
    this.size = summary.size;
    this.lastOffset = summary.lastOffset;
    this.maxTimestamp = summary.maxTimestamp;
    this.firstTimestamp = summary.firstTimestamp;
    this.#indexOffsets = [...summary.indexOffsets];
    this.#indexPositions = [...summary.indexPositions];
  }

  /** @returns the position of an invalid batch, if any. */
  async #scan(
    from: number,
    to: number,
    visit: (header: BatchHeader, bytes: Buffer, at: number, position: number) => boolean | void,
  ): Promise<number | undefined> {
    const fd = this.acquire();
    try {
      let position = from;
      let chunkBytes = scanChunkBytes;
      while (position < to) {
        const bytes = await readAt(fd, position, Math.min(chunkBytes, to - position));
        if (bytes.length < headerLength) return position;
        let at = 0;
        while (bytes.length - at >= headerLength) {
          const size = batchSize(bytes, at);
          if (size < headerLength || size > largestBatch || position + at + size > to) return position + at;
          if (at + size > bytes.length) break;
          if (visit(readHeader(bytes, at), bytes, at, position) === false) return undefined;
          at += size;
        }
        // A batch larger than the chunk: read again with room for it.
        chunkBytes = at === 0 ? Math.max(scanChunkBytes, batchSize(bytes)) : scanChunkBytes;
        if (at === 0 && bytes.length >= batchSize(bytes)) return position;
        position += at;
      }
      return undefined;
    } finally {
      this.release();
    }
  }

  async #readBatch(fd: number, position: number, size: number): Promise<Buffer> {
    const batch = await readAt(fd, position, size);
    this.#checkCrc(batch, 0, position);
    return batch;
  }

  /**
   * Returns the header at `at` of bytes from `position`, if it is plausible: its length and offsets are not
   * covered by a CRC.
   */
  #headerOf(bytes: Buffer, at: number, position: number, before: number): BatchHeader {
    const header = readHeader(bytes, at);
    const { size, baseOffset, lastOffset } = header;
    const fits = size >= headerLength && size <= largestBatch && position + at + size <= this.size;
    if (fits && baseOffset > before && lastOffset >= baseOffset && lastOffset <= this.lastOffset)
      return header;
    throw new DamagedSegment(this, position + at);
  }

  #checkCrc(bytes: Buffer, at: number, position: number): void {
    if (!isIntact(bytes, at, bytes.length - at)) throw new DamagedSegment(this, position + at);
  }

  #positionBefore(offset: number): number {
    let low = 0;
    let high = this.#indexOffsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#indexOffsets[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : (this.#indexPositions[low - 1] ?? 0);
  }
}
