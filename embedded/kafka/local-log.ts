import { MillraceError } from '../../platform/errors.js';
import { ErrorCode } from './protocol/error-codes.js';
import { isControl, readHeader } from './protocol/record-batch.js';
import { decodeRecords, encodeRecords } from './protocol/records.js';
import type { NewRecord } from './protocol/records.js';
import type { Services } from './services.js';
import type { PartitionLog } from './storage/partition-log.js';

const readBytes = 1024 * 1024;

/** A compacted topic with one partition, used inside the broker's own process without a client. */
export class LocalLog {
  readonly #services: Services;
  readonly #topic: string;

  constructor(services: Services, topic: string) {
    this.#services = services;
    this.#topic = topic;
  }

  /**
   * Appends the records as one batch, so all or none. Resolves when they are on disk. A null value deletes
   * its key.
   */
  async append(records: readonly { key: Buffer; value: Buffer | null }[]): Promise<void> {
    if (records.length === 0) return;
    const log = await this.#log();
    const { errorCode, durable } = log.append(encodeRecords(records, this.#services.clock.now()));
    if (errorCode !== ErrorCode.NONE) {
      throw new MillraceError(
        'LOG_APPEND_REFUSED',
        `Topic ${this.#topic} refused a batch with Kafka error ${errorCode}.`,
      );
    }
    await durable;
  }

  /** Returns all records on disk at the time of the call, in order. */
  async *read(): AsyncIterable<NewRecord> {
    const log = await this.#log();
    const end = log.highWatermark;
    let offset = log.logStart;
    while (offset < end) {
      const { batches } = await log.read(offset, end, readBytes);
      if (batches.length === 0) return;
      for (const batch of batches) {
        for (let at = 0; at < batch.length;) {
          const header = readHeader(batch, at);
          const records = isControl(header)
            ? []
            : decodeRecords(batch.subarray(at, at + header.size), header);
          if (records === undefined) {
            throw new MillraceError(
              'LOG_UNREADABLE',
              `Topic ${this.#topic} has a compressed batch at offset ${header.baseOffset} that can't be read here.`,
            );
          }
          for (const { offset: at_, key, value } of records) if (at_ >= offset) yield { key, value };
          at += header.size;
          offset = header.lastOffset + 1;
        }
      }
    }
  }

  async #log(): Promise<PartitionLog> {
    await this.#services.topics.ensure(this.#topic, 1, { 'cleanup.policy': 'compact' });
    const log = this.#services.topics.log(this.#topic, 0);
    if (log === undefined) throw new MillraceError('LOG_MISSING', `Topic ${this.#topic} cannot be created.`);
    return log;
  }
}
