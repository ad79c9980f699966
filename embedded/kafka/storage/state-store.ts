import { closeSync, constants, ftruncateSync, openSync } from 'node:fs';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from '../../../platform/logger.js';
import { deferred } from '../deferred.js';
import type { Deferred } from '../deferred.js';
import { crc32c } from '../../../platform/crc32c.js';
import { keepDamaged } from './damage.js';
import { dataSync, syncFolder, writeAllAt } from './files.js';

/** One change: the key's parts (the first names the kind), and the new value; `undefined` removes the key. */
export interface StateChange {
  key: readonly string[];
  value: unknown;
}

const frameOverhead = 8;
const [openBracket, closeBracket] = [0x5b, 0x5d];
const rewriteAboveBytes = 4 * 1024 * 1024;

/**
 * The broker's small durable state: topics and their settings, group offsets, transactions, producer ids. A
 * key-value map stored as an append-only file of checksummed frames; each frame has the changes of one or
 * more `put` calls and takes effect as a whole or, if torn by a crash, not at all. The file is rewritten when
 * most of it is outdated.
 *
 *     frame => length u32 · crc-32c u32 · JSON [[key, value], …]   (a missing value removes the key)
 */
export class StateStore {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #values = new Map<string, string>();
  #liveBytes = 0;
  #fd = -1;
  #size = 0;
  #queued: string[] = [];
  #queuedDone: Deferred<void> = deferred();
  #running: Promise<void> | undefined;

  private constructor(path: string, logger: Logger) {
    this.#path = path;
    this.#logger = logger;
  }

  static async open(path: string, logger: Logger): Promise<StateStore> {
    const store = new StateStore(path, logger);
    await mkdir(dirname(path), { recursive: true });
    store.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
    const bytes = await readFile(path);
    const { end, damagedAt } = store.#load(bytes);
    store.#size = end;
    if (damagedAt !== undefined) {
      await keepDamaged(
        { path, what: `its entry at byte ${damagedAt} can't be read, later ones can` },
        logger,
      );
      await store.#rewrite();
    } else if (end < bytes.length) {
      logger.warn({ path, bytes: bytes.length - end }, 'Cut a torn tail off the broker state');
      ftruncateSync(store.#fd, end);
    }
    await dataSync(store.#fd);
    await syncFolder(dirname(path));
    return store;
  }

  /** Returns all entries of one kind: the key's other parts, and the value, in the form it was put in. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller names what it put under that kind
  *entries<T>(kind: string): Iterable<{ key: string[]; value: T }> {
    const prefix = `[${JSON.stringify(kind)},`;
    for (const [key, value] of this.#values) {
      if (!key.startsWith(prefix)) continue;
      const parts: string[] = JSON.parse(key);
      const parsed: T = JSON.parse(value);
      yield { key: parts.slice(1), value: parsed };
    }
  }

  /**
   * Applies the changes together. Resolves when they are on disk; concurrent calls share one write and one
   * fsync. When the disk refuses, it rejects, and the changes are written with the next ones.
   */
  put(changes: readonly StateChange[]): Promise<void> {
    const frame: [string, string | undefined][] = [];
    for (const { key, value } of changes) {
      const text = JSON.stringify(key);
      const encoded = value === undefined ? undefined : JSON.stringify(value);
      frame.push([text, encoded]);
      this.#set(text, encoded);
    }
    this.#queued.push(encodePairs(frame));
    const { promise } = this.#queuedDone;
    this.#running ??= this.#flush();
    return promise;
  }

  async close(): Promise<void> {
    await this.#running;
    closeSync(this.#fd);
  }

  async #flush(): Promise<void> {
    // Lets all further changes of this tick share the write.
    await Promise.resolve();
    while (this.#queued.length > 0) {
      const taken = this.#queued;
      const done = this.#queuedDone;
      this.#queued = [];
      this.#queuedDone = deferred();
      try {
        const bytes = Buffer.concat(taken.map((pairs) => encodeFrame(pairs)));
        await writeAllAt(this.#fd, [bytes], this.#size);
        await dataSync(this.#fd);
        this.#size += bytes.length;
        done.resolve();
      } catch (error) {
        this.#logger.error({ err: error, path: this.#path }, 'Cannot write the broker state');
        const queuedDone = this.#queuedDone;
        this.#queued = [...taken, ...this.#queued];
        this.#queuedDone = deferred();
        // Cleared first: a caller may retry as soon as it gets the failure.
        this.#running = undefined;
        done.reject(error);
        queuedDone.reject(error);
        return;
      }
      await this.#rewriteIfOutdated();
    }
    this.#running = undefined;
  }

  async #rewriteIfOutdated(): Promise<void> {
    if (this.#size < rewriteAboveBytes || this.#size < 4 * this.#liveBytes) return;
    try {
      await this.#rewrite();
    } catch (error) {
      this.#logger.warn(
        { err: error, path: this.#path },
        'Cannot rewrite the broker state; it keeps growing',
      );
    }
  }

  async #rewrite(): Promise<void> {
    const temporary = `${this.#path}.new`;
    // Queued changes are already in the map, and are written again after it: applying them twice changes
    // nothing.
    const frames = [...this.#values].map(([key, value]) => encodeFrame(encodePairs([[key, value]])));
    const bytes = Buffer.concat(frames);
    const handle = await open(temporary, 'w', 0o644);
    try {
      await handle.writeFile(bytes);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(temporary, this.#path);
    await syncFolder(dirname(this.#path));
    closeSync(this.#fd);
    this.#fd = openSync(this.#path, constants.O_RDWR);
    this.#size = bytes.length;
  }

  /**
   * Applies every intact frame.
   *
   * @returns where the last one ends, and where the first damaged one begins, if intact ones follow it.
   */
  #load(bytes: Buffer): { end: number; damagedAt: number | undefined } {
    let end = 0;
    let damagedAt: number | undefined;
    for (const { at, bodyEnd, isWhole } of intactFrames(bytes)) {
      if (at > end || !isWhole) damagedAt ??= end;
      const pairs: [unknown, unknown?][] = JSON.parse(bytes.toString('utf8', at + frameOverhead, bodyEnd));
      for (const [key, value] of pairs)
        this.#set(JSON.stringify(key), value === undefined ? undefined : JSON.stringify(value));
      end = bodyEnd;
    }
    return { end, damagedAt };
  }

  #set(key: string, value: string | undefined): void {
    const old = this.#values.get(key);
    if (old !== undefined) this.#liveBytes -= key.length + old.length;
    if (value === undefined) {
      this.#values.delete(key);
      return;
    }
    this.#values.set(key, value);
    this.#liveBytes += key.length + value.length;
  }
}

/**
 * Yields the intact frames of a file, whatever is between them. If only the length of one is damaged, it ends
 * where the next one begins, or at the end of the file, if its checksum matches; it is not whole then.
 */
function* intactFrames(bytes: Buffer): Generator<{ at: number; bodyEnd: number; isWhole: boolean }> {
  for (let at = 0; bytes.length - at > frameOverhead;) {
    const end = frameEnd(bytes, at);
    if (end !== undefined) {
      yield { at, bodyEnd: end, isWhole: true };
      at = end;
      continue;
    }
    const next = nextFrame(bytes, at);
    if (crc32c(bytes, at + frameOverhead, next) === bytes.readUInt32BE(at + 4))
      yield { at, bodyEnd: next, isWhole: false };
    at = next;
  }
}

/** Returns where the frame at `at` ends, if it is intact. */
function frameEnd(bytes: Buffer, at: number): number | undefined {
  // Quickly excludes most positions: each text is a list, empty or of lists.
  const [first, second] = [bytes[at + frameOverhead], bytes[at + frameOverhead + 1]];
  if (first !== openBracket || (second !== openBracket && second !== closeBracket)) return undefined;
  const end = at + frameOverhead + bytes.readUInt32BE(at);
  const isIntact =
    end <= bytes.length && crc32c(bytes, at + frameOverhead, end) === bytes.readUInt32BE(at + 4);
  return isIntact ? end : undefined;
}

function nextFrame(bytes: Buffer, at: number): number {
  // By its length first, so that content of its text is not parsed as a frame.
  const byLength = at + frameOverhead + bytes.readUInt32BE(at);
  if (byLength + frameOverhead < bytes.length && frameEnd(bytes, byLength) !== undefined) return byLength;
  let next = at + 1;
  while (bytes.length - next > frameOverhead && frameEnd(bytes, next) === undefined) next++;
  return bytes.length - next > frameOverhead ? next : bytes.length;
}

function encodePairs(pairs: readonly [string, string | undefined][]): string {
  return `[${pairs.map(([key, value]) => (value === undefined ? `[${key}]` : `[${key},${value}]`)).join(',')}]`;
}

function encodeFrame(pairs: string): Buffer {
  const body = Buffer.from(pairs);
  const header = Buffer.alloc(frameOverhead);
  header.writeUInt32BE(body.length, 0);
  header.writeUInt32BE(crc32c(body), 4);
  return Buffer.concat([header, body]);
}
