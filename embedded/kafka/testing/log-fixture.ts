import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../../../platform/logger.js';
import { readHeader } from '../protocol/record-batch.js';
import { decodeRecords, encodeRecords } from '../protocol/records.js';
import { PartitionLog } from '../storage/partition-log.js';
import { TailCacheBudget } from '../storage/tail-cache.js';
import { logConfig } from '../storage/topic-config.js';
import type { ConfigValues } from '../storage/topic-config.js';
import { ManualClock } from './manual-clock.js';

export interface ReadRecord {
  offset: number;
  /** `marker` for the end of a transaction. */
  key: string;
  value: string | null;
}

/** A partition's log in a temporary folder, which a test can reopen any number of times. */
export class LogFixture {
  readonly folder: string;
  readonly clock = new ManualClock();
  #opened: PartitionLog[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async start(): Promise<LogFixture> {
    return new LogFixture(await mkdtemp(join(tmpdir(), 'millrace-log-')));
  }

  /** @param known - the broker's state of the log. */
  async open(
    configs: ConfigValues = {},
    cacheBytes = 1024 * 1024,
    known: { start?: number; committed?: number; isNew?: boolean } = {},
  ): Promise<PartitionLog> {
    const { clock, folder } = this;
    const environment = { logger: silentLogger, clock, cacheBudget: new TailCacheBudget(cacheBytes) };
    const name = { topic: 't', partition: 0, folder };
    const log = await PartitionLog.open(
      name,
      logConfig(configs),
      { start: 0, end: 0, isNew: true, ...known },
      environment,
    );
    this.#opened.push(log);
    return log;
  }

  async close(log: PartitionLog): Promise<void> {
    this.#opened = this.#opened.filter((each) => each !== log);
    await log.close();
  }

  async appendKeyed(log: PartitionLog, key: string, value: string | null): Promise<void> {
    const record = { key: Buffer.from(key), value: value === null ? null : Buffer.from(value) };
    await log.append(encodeRecords([record], this.clock.now())).durable;
  }

  async end(): Promise<void> {
    for (const log of this.#opened) await log.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

export async function values(log: PartitionLog, from: number): Promise<(string | null)[]> {
  return (await keyed(log, from)).map(({ value }) => value);
}

/** Returns all records from an offset on, read in small steps, as consumers do. */
export async function keyed(log: PartitionLog, from: number): Promise<ReadRecord[]> {
  const found: ReadRecord[] = [];
  let offset = from;
  for (;;) {
    const { errorCode, batches } = await log.read(offset, log.highWatermark, 1500);
    if (errorCode !== 0) throw new Error(`Reading at ${offset} failed with Kafka error ${errorCode}.`);
    if (batches.length === 0) return found;
    for (const bytes of batches) {
      for (let at = 0; at < bytes.length;) {
        const header = readHeader(bytes, at);
        if (header.count === 0) throw new Error(`The batch at ${header.baseOffset} is empty.`);
        for (const record of decodeRecords(bytes.subarray(at, at + header.size), header) ?? []) {
          const key = (header.attributes & 0x20) === 0 ? (record.key?.toString() ?? '') : 'marker';
          if (record.offset >= from)
            found.push({ offset: record.offset, key, value: record.value?.toString() ?? null });
        }
        offset = header.lastOffset + 1;
        at += header.size;
      }
    }
  }
}
