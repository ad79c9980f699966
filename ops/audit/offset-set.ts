const bitsPerChunk = 1 << 20;

/** Set of offsets of one partition, as bitmaps of chunks. */
export class OffsetSet {
  readonly #chunks = new Map<number, Uint8Array>();
  size = 0;

  has(offset: number): boolean {
    const at = offset % bitsPerChunk;
    const byte = this.#chunks.get(Math.floor(offset / bitsPerChunk))?.[at >> 3] ?? 0;
    return (byte & (1 << (at & 7))) !== 0;
  }

  /** @returns whether the offset is new. */
  add(offset: number): boolean {
    const number = Math.floor(offset / bitsPerChunk);
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      chunk = new Uint8Array(bitsPerChunk / 8);
      this.#chunks.set(number, chunk);
    }
    const at = offset % bitsPerChunk;
    const byte = chunk[at >> 3] ?? 0;
    const bit = 1 << (at & 7);
    if ((byte & bit) !== 0) return false;
    chunk[at >> 3] = byte | bit;
    this.size++;
    return true;
  }
}

/** Sets of offsets by partition. */
export class PartitionOffsets {
  readonly #partitions = new Map<number, OffsetSet>();

  has(partition: number, offset: number): boolean {
    return this.#partitions.get(partition)?.has(offset) ?? false;
  }

  /** @returns whether the offset is new. */
  add(partition: number, offset: number): boolean {
    let set = this.#partitions.get(partition);
    if (set === undefined) this.#partitions.set(partition, (set = new OffsetSet()));
    return set.add(offset);
  }

  count(partition: number): number {
    return this.#partitions.get(partition)?.size ?? 0;
  }
}
