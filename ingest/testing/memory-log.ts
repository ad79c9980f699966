/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import type { MillraceError } from '../../platform/errors.js';
import { Mutex } from '../../platform/mutex.js';
import type { TopicTailOptions, Follower } from '../../streams/topic-tail.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, RecordPosition, StreamRecord } from '../../streams/records.js';
import type { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';

/**
 * A log in memory with one partition a topic. It keeps all sent records, and passes them to its followers at
 * once.
 */
export class MemoryLog {
  readonly records: StreamRecord[] = [];
  /** The error of every send and every request for the end of a topic from now on. */
  failure: MillraceError | undefined;
  /** The sent record, or its error: for one record of a list. */
  refuse: (record: NewRecord) => MillraceError | undefined = () => this.failure;
  readonly #followers: TopicTailOptions[] = [];
  readonly #schemas: string[] = [];
  /** Records are passed to the followers one after the other. */
  readonly #appends = new Mutex();

  /** The part of a client that the HTTP API uses. */
  readonly streams = {
    createProducer: () => Promise.resolve(this.producer),
    follow: (options: TopicTailOptions) => this.#follow(options),
    ping: () => Promise.resolve(),
    createTopics: () => Promise.resolve(),
  } as unknown as Streams;

  readonly producer: LogProducer = {
    send: async (records) => {
      if (this.failure !== undefined) throw this.failure;
      return Promise.all(records.map((record) => this.#append(record)));
    },
    sendEach: (records) =>
      Promise.all(
        records.map((record) => {
          const refusal = this.refuse(record);
          return refusal === undefined ? this.#append(record) : Promise.resolve(refusal);
        }),
      ),
    close: () => Promise.resolve(),
  };

  /** Encodes with a registry in memory. */
  readonly serde = new Serde({
    register: (_subject: string, schema: string) => {
      const known = this.#schemas.indexOf(schema);
      return Promise.resolve(known === -1 ? this.#schemas.push(schema) : known + 1);
    },
    keepLevel: () => Promise.resolve('FULL_TRANSITIVE'),
    schema: (id: number) => Promise.resolve({ schema: this.#schemas[id - 1] ?? '', schemaType: 'AVRO' }),
  } as unknown as SchemaRegistryClient);

  /** Records of a topic, oldest first. */
  of(topic: string): StreamRecord[] {
    return this.records.filter((record) => record.topic === topic);
  }

  #append(record: NewRecord): Promise<RecordPosition> {
    return this.#appends.run(() => this.#appendNow(record));
  }

  async #appendNow({
    topic,
    key,
    value,
    headers = {},
    timestamp = Date.now(),
  }: NewRecord): Promise<RecordPosition> {
    const position = { topic, partition: 0, offset: this.of(topic).length };
    const record = {
      ...position,
      timestamp,
      key: key === null ? null : Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, content]) => [name, Buffer.from(content)]),
      ),
    };
    this.records.push(record);
    for (const follower of this.#followers)
      if (follower.topics.includes(topic)) await follower.handle([record]);
    return position;
  }

  async #follow(options: TopicTailOptions): Promise<Follower> {
    this.#followers.push(options);
    for (const topic of options.topics) await options.handle(this.of(topic));
    return {
      whenCaughtUp: () => (this.failure === undefined ? Promise.resolve() : Promise.reject(this.failure)),
      status: () => ({ ok: true, since: 0 }),
      stop: () => Promise.resolve(),
    };
  }
}
