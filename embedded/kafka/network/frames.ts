import { MillraceError } from '../../../platform/errors.js';

const lengthBytes = 4;

/**
 * Splits a byte stream into the protocol's frames (`length i32 · bytes`). Memory grows only by bytes that
 * have arrived; a frame from a single chunk is a view into it.
 */
export class Frames {
  maxFrameBytes: number;
  #chunks: Buffer[] = [];
  #buffered = 0;
  /** Bytes needed for the next step. */
  #wanted = lengthBytes;

  constructor(maxFrameBytes: number) {
    this.maxFrameBytes = maxFrameBytes;
  }

  /** Length of the partial frame, 0 between two frames. */
  get announcedBytes(): number {
    return this.#buffered === 0 ? 0 : this.#wanted;
  }

  /**
   * Returns the frames that this chunk completes, without their lengths. Throws `FRAME_TOO_LARGE` or
   * `MALFORMED_REQUEST`.
   */
  push(chunk: Buffer): Buffer[] {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    if (this.#buffered < this.#wanted) return [];
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#buffered);
    const frames: Buffer[] = [];
    let at = 0;
    this.#wanted = lengthBytes;
    while (bytes.length - at >= lengthBytes) {
      const length = this.#check(bytes.readInt32BE(at));
      if (bytes.length - at - lengthBytes < length) {
        this.#wanted = lengthBytes + length;
        break;
      }
      frames.push(bytes.subarray(at + lengthBytes, at + lengthBytes + length));
      at += lengthBytes + length;
    }
    this.#chunks = at < bytes.length ? [bytes.subarray(at)] : [];
    this.#buffered = bytes.length - at;
    return frames;
  }

  #check(length: number): number {
    if (length < 0) throw new MillraceError('MALFORMED_REQUEST', `A frame announces ${length} bytes.`);
    if (length <= this.maxFrameBytes) return length;
    throw new MillraceError(
      'FRAME_TOO_LARGE',
      `A frame of ${length} bytes is over the limit of ${this.maxFrameBytes}: send smaller batches.`,
    );
  }
}
