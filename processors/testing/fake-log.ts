import { MillraceError } from '../../platform/errors.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, RecordPosition, StreamRecord } from '../../streams/records.js';

/** A log in memory: one partition per topic, with refusals that a test sets. */
export class FakeLog implements LogProducer {
  readonly #topics = new Map<string, StreamRecord[]>();
  /** Calls of `sendEach` so far. */
  calls = 0;
  /** Returns the error with which a record is refused; undefined accepts it. */
  refuse: (record: NewRecord) => MillraceError | undefined = () => undefined;

  /** Returns the records of a topic, as a consumer reads them. */
  read(topic: string): StreamRecord[] {
    return this.#topics.get(topic) ?? [];
  }

  sendEach(records: readonly NewRecord[]): Promise<(RecordPosition | MillraceError)[]> {
    this.calls += 1;
    return Promise.resolve(records.map((record) => this.refuse(record) ?? this.#append(record)));
  }

  async send(records: readonly NewRecord[]): Promise<RecordPosition[]> {
    const outcomes = await this.sendEach(records);
    return outcomes.map((outcome) => {
      if (outcome instanceof MillraceError) throw outcome;
      return outcome;
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #append(record: NewRecord): RecordPosition {
    const records = this.read(record.topic);
    this.#topics.set(record.topic, records);
    const stored = toStreamRecord(record, records.length);
    records.push(stored);
    return { topic: stored.topic, partition: stored.partition, offset: stored.offset };
  }
}

/** Returns a record as a consumer reads it from partition 0. */
export function toStreamRecord(record: NewRecord, offset = 0): StreamRecord {
  const headers = Object.entries(record.headers ?? {}).map(([name, value]) => [name, Buffer.from(value)]);
  return {
    topic: record.topic,
    partition: 0,
    offset,
    timestamp: record.timestamp ?? Date.UTC(2026, 0, 31, 12),
    key: record.key === null ? null : Buffer.from(record.key),
    value: record.value,
    headers: Object.fromEntries(headers) as StreamRecord['headers'],
  };
}
