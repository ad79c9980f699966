import { closeSync, constants, ftruncate, openSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { batchSize, headerLength, isIntact, readHeader } from '../protocol/record-batch.js';
import type { BatchHeader } from '../protocol/record-batch.js';
import { dataSync, readAt, writeAllAt } from './files.js';

const truncate = promisify(ftruncate);

/** One index entry for at least so many bytes of log: a read starts at most so far before its batch. */
const indexIntervalBytes = 64 * 1024;
/** Of a compacted segment that is still being written. */
export const cleanedSuffix = '.cleaned';
const scanChunkBytes = 1024 * 1024;

/** What a checkpoint keeps of a segment, so that it need not be scanned again. */
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

/**
 * One file of batches in wire format, with a sparse in-memory index from offset to position. `size` counts durable
 * bytes only; whatever the file holds beyond is not served.
 */
export class Segment {
  readonly baseOffset: number;
  path: string;
  size = 0;
  lastOffset: number;
  maxTimestamp = -1;
  firstTimestamp = -1;
  private indexOffsets: number[] = [];
  private indexPositions: number[] = [];
  private fd: number | undefined;
  private users = 0;

  /** @param suffix - of the file while it is being made, see {@link moveTo}. */
  constructor(folder: string, baseOffset: number, suffix = '') {
    this.baseOffset = baseOffset;
    this.lastOffset = baseOffset - 1;
    this.path = join(folder, `${segmentFileName(baseOffset)}${suffix}`);
  }

  /** Makes the file, empty, and keeps it open until the matching {@link release}. */
  create(): void {
    this.fd = openSync(this.path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o644);
    this.users++;
  }

  /** Opens the file, in this very tick, and keeps it open until the matching {@link release}: it can then be replaced or deleted by others. */
  acquire(): number {
    this.fd ??= openSync(this.path, constants.O_RDWR);
    this.users++;
    return this.fd;
  }

  release(): void {
    this.users--;
    if (this.users > 0 || this.fd === undefined) return;
    closeSync(this.fd);
    this.fd = undefined;
  }

  /** Writes batches behind the durable end and waits for the disk. The caller then calls {@link note} for each. */
  async append(batches: readonly Buffer[]): Promise<void> {
    const fd = this.acquire();
    try {
      await writeAllAt(fd, batches, this.size);
      await dataSync(fd);
    } finally {
      this.release();
    }
  }

  /** Takes a durable batch that starts at the current end into account. */
  note(header: BatchHeader): void {
    const lastIndexed = this.indexPositions.at(-1);
    if (lastIndexed === undefined || this.size - lastIndexed >= indexIntervalBytes) {
      this.indexOffsets.push(header.baseOffset);
      this.indexPositions.push(this.size);
    }
    this.size += header.size;
    this.lastOffset = header.lastOffset;
    this.maxTimestamp = Math.max(this.maxTimestamp, header.maxTimestamp);
    if (this.firstTimestamp < 0) this.firstTimestamp = header.maxTimestamp;
  }

  /**
   * The whole batches from the one that contains `offset` (or the next one) on, as one buffer: as many as fit
   * `maxBytes` and end below `upTo`, but at least one. Empty when this segment has none.
   */
  async read(offset: number, upTo: number, maxBytes: number): Promise<Buffer> {
    const fd = this.acquire();
    try {
      let position = this.positionBefore(offset);
      for (;;) {
        const length = Math.min(this.size - position, maxBytes + indexIntervalBytes);
        if (length < headerLength) return Buffer.alloc(0);
        const bytes = await readAt(fd, position, length);
        const { start, end, next } = wholeBatches(bytes, offset, upTo, maxBytes);
        if (end > start) return bytes.subarray(start, end);
        if (next === undefined) return Buffer.alloc(0);
        if (next.wanted) return await readAt(fd, position + next.at, next.size);
        position += next.at;
      }
    } finally {
      this.release();
    }
  }

  /** Visits every batch from `position` on, in order, until `visit` returns `false`; whole batches are passed. */
  async forEachBatch(
    position: number,
    visit: (header: BatchHeader, batch: Buffer) => boolean | void,
  ): Promise<void> {
    await this.scan(position, this.size, (header, bytes, at) =>
      visit(header, bytes.subarray(at, at + header.size)),
    );
  }

  /**
   * Reads what the file holds behind the known end and takes every intact batch into account, passing its header on.
   * Stops at the first byte that is not part of an intact batch with a rising offset.
   *
   * @returns the file's length, which is larger than `size` afterwards when it has a torn tail.
   */
  async recover(fileLength: number, visit: (header: BatchHeader, batch: Buffer) => void): Promise<number> {
    await this.scan(this.size, fileLength, (header, bytes, at) => {
      if (!isIntact(bytes, at, bytes.length - at) || header.baseOffset <= this.lastOffset) return false;
      visit(header, bytes.subarray(at, at + header.size));
      this.note(header);
      return true;
    });
    return fileLength;
  }

  /** Cuts the file behind its durable end. */
  async truncateToSize(): Promise<void> {
    const fd = this.acquire();
    try {
      await truncate(fd, this.size);
      await dataSync(fd);
    } finally {
      this.release();
    }
  }

  /** Gives the file its final name, in place of whatever has that name. Open readers keep the file they opened. */
  async moveTo(path: string): Promise<void> {
    await rename(this.path, path);
    this.path = path;
  }

  summary(): SegmentSummary {
    const { baseOffset, size, lastOffset, maxTimestamp, firstTimestamp, indexOffsets, indexPositions } = this;
    return { baseOffset, size, lastOffset, maxTimestamp, firstTimestamp, indexOffsets, indexPositions };
  }

  restore(summary: SegmentSummary): void {
    this.size = summary.size;
    this.lastOffset = summary.lastOffset;
    this.maxTimestamp = summary.maxTimestamp;
    this.firstTimestamp = summary.firstTimestamp;
    this.indexOffsets = [...summary.indexOffsets];
    this.indexPositions = [...summary.indexPositions];
  }

  private async scan(
    from: number,
    to: number,
    visit: (header: BatchHeader, bytes: Buffer, at: number) => boolean | void,
  ): Promise<void> {
    const fd = this.acquire();
    try {
      let position = from;
      let chunkBytes = scanChunkBytes;
      while (to - position >= headerLength) {
        const bytes = await readAt(fd, position, Math.min(chunkBytes, to - position));
        let at = 0;
        while (bytes.length - at >= headerLength) {
          const size = batchSize(bytes, at);
          if (size < headerLength || position + at + size > to) return;
          if (at + size > bytes.length) break;
          if (visit(readHeader(bytes, at), bytes, at) === false) return;
          at += size;
        }
        // A batch larger than the chunk: read again with room for it.
        chunkBytes = at === 0 ? Math.max(scanChunkBytes, batchSize(bytes)) : scanChunkBytes;
        if (at === 0 && bytes.length >= batchSize(bytes)) return;
        position += at;
      }
    } finally {
      this.release();
    }
  }

  private positionBefore(offset: number): number {
    let low = 0;
    let high = this.indexOffsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.indexOffsets[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : (this.indexPositions[low - 1] ?? 0);
  }
}

interface NextRead {
  at: number;
  size: number;
  /** The batch at `at` is the one asked for; otherwise only the search goes on from there. */
  wanted: boolean;
}

/** The run of whole batches to serve, or, when the chunk has none, where to read on. */
function wholeBatches(
  bytes: Buffer,
  offset: number,
  upTo: number,
  maxBytes: number,
): { start: number; end: number; next?: NextRead } {
  let at = 0;
  let start = -1;
  while (bytes.length - at >= headerLength) {
    const header = readHeader(bytes, at);
    if (header.lastOffset >= offset) {
      if (header.lastOffset >= upTo) break;
      const whole = at + header.size <= bytes.length;
      if (start < 0 && !whole) return { start: 0, end: 0, next: { at, size: header.size, wanted: true } };
      if (!whole || (start >= 0 && at + header.size - start > maxBytes)) break;
      if (start < 0) start = at;
    }
    at += header.size;
  }
  if (start >= 0) return { start, end: at };
  const reachedLimit = bytes.length - at >= headerLength;
  return reachedLimit || at === 0
    ? { start: 0, end: 0 }
    : { start: 0, end: 0, next: { at, size: 0, wanted: false } };
}
