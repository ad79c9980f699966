import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { deferred } from '../deferred.js';
import type { Deferred } from '../deferred.js';
import { apiVersions } from '../apis/18-api-versions.js';
import { apis } from '../apis/index.js';
import { Frames } from '../network/frames.js';
import { batchSize, isControl, readHeader } from '../protocol/record-batch.js';
import type { BatchFields } from '../protocol/record-batch.js';
import { buildBatch, transactionalFlag } from '../protocol/record-batch.js';
import { decodeRecords, encodeRecords } from '../protocol/records.js';
import { Reader } from '../protocol/reader.js';
import { Writer } from '../protocol/writer.js';

export interface Producer {
  producerId: number;
  epoch: number;
}

export interface FetchResult {
  errorCode: number;
  highWatermark: number;
  lastStableOffset: number;
  aborted: { producerId: number; firstOffset: number }[];
  records: Buffer;
}

/**
 * A Kafka client that sends exactly the given requests: no retries, no state. Calls reject when the
 * connection ends.
 */
export class WireClient {
  readonly #socket: Socket;
  readonly #frames = new Frames(64 * 1024 * 1024);
  readonly #waiting: Deferred<Reader>[] = [];
  #correlationId = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      for (const frame of this.#frames.push(Buffer.from(chunk)))
        this.#waiting.shift()?.resolve(new Reader(frame));
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const call of this.#waiting.splice(0)) call.reject(new Error('The broker closed the connection.'));
    });
  }

  static async connect(port: number): Promise<WireClient> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new WireClient(socket);
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Stops reading from the socket, so that answers pile up at the broker. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Ends the connection once everything is sent. */
  end(): void {
    this.#socket.end();
  }

  /** Resolves when the broker has closed the connection. */
  async closed(): Promise<void> {
    if (!this.#socket.closed) await new Promise((resolve) => this.#socket.once('close', resolve));
  }

  sendRaw(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Sends a frame unchanged; resolves with the next answer, whatever it is. */
  async exchange(bytes: Buffer): Promise<Reader> {
    if (this.#socket.destroyed) throw new Error('The broker closed the connection.');
    this.#socket.write(bytes);
    const answer = deferred<Reader>();
    this.#waiting.push(answer);
    return await answer.promise;
  }

  /** Sends a request in the encoding of its version; resolves with the answer after its header. */
  async call(
    apiKey: number,
    version: number,
    encode: (writer: Writer) => void,
    answers = true,
  ): Promise<Reader> {
    const writer = new Writer();
    const correlationId = ++this.#correlationId;
    writer.int32(0);
    writer.int16(apiKey);
    writer.int16(version);
    writer.int32(correlationId);
    writer.nullableString('wire-client');
    const api = apis.find(({ key }) => key === apiKey);
    // An unsupported version is answered in the oldest one, if at all.
    const flexible = api !== undefined && version >= api.flexibleFrom && version <= api.maxVersion;
    writer.flexible = flexible;
    writer.tags();
    encode(writer);
    writer.tags();
    const { chunks, length } = writer.finish();
    chunks[0]?.writeInt32BE(length - 4, 0);
    const bytes = Buffer.concat(chunks);
    if (!answers) {
      this.sendRaw(bytes);
      return new Reader(Buffer.alloc(0));
    }
    const reader = await this.exchange(bytes);
    const answered = reader.int32();
    if (answered !== correlationId) throw new Error(`Answer ${answered} came for request ${correlationId}.`);
    reader.flexible = flexible;
    if (apiKey !== apiVersions.key) reader.tags();
    return reader;
  }

  async createTopic(name: string, partitions = 1, configs: Record<string, string> = {}): Promise<number> {
    const reader = await this.call(19, 2, (writer) => {
      writer.array([name], () => {
        writer.string(name);
        writer.int32(partitions);
        writer.int16(1);
        writer.array([], () => undefined);
        writer.array(Object.entries(configs), ([key, value]) => {
          writer.string(key);
          writer.nullableString(value);
        });
      });
      writer.int32(10_000);
      writer.boolean(false);
    });
    reader.int32();
    return (
      reader.array(() => [reader.string(), reader.int16(), reader.nullableString()] as const)[0]?.[1] ?? -1
    );
  }

  async deleteTopic(name: string): Promise<number> {
    const reader = await this.call(20, 1, (writer) => {
      writer.array([name], (each) => writer.string(each));
      writer.int32(10_000);
    });
    reader.int32();
    return reader.array(() => [reader.string(), reader.int16()] as const)[0]?.[1] ?? -1;
  }

  async produce(
    topic: string,
    partition: number,
    batch: Buffer,
    { acks = -1, transactionalId = null }: { acks?: number; transactionalId?: string | null } = {},
  ): Promise<{ errorCode: number; baseOffset: number }> {
    const encode = (writer: Writer): void => {
      writer.nullableString(transactionalId);
      writer.int16(acks);
      writer.int32(30_000);
      writer.array([topic], () => {
        writer.string(topic);
        writer.array([partition], () => {
          writer.int32(partition);
          writer.recordBytes([batch]);
        });
      });
    };
    const reader = await this.call(0, 3, encode, acks !== 0);
    if (acks === 0) return { errorCode: 0, baseOffset: -1 };
    const [answer] = reader.array(() => {
      reader.string();
      return reader.array(() => ({
        index: reader.int32(),
        errorCode: reader.int16(),
        baseOffset: reader.int64(),
        time: reader.int64(),
      }));
    });
    const { errorCode, baseOffset } = answer?.[0] ?? { errorCode: -1, baseOffset: -1 };
    return { errorCode, baseOffset };
  }

  async fetch(
    topic: string,
    partition: number,
    offset: number,
    options: { committed?: boolean; maxWaitMs?: number; minBytes?: number; maxBytes?: number } = {},
  ): Promise<FetchResult> {
    const { committed = false, maxWaitMs = 0, minBytes = 0, maxBytes = 1024 * 1024 } = options;
    const reader = await this.call(1, 4, (writer) => {
      writer.int32(-1);
      writer.int32(maxWaitMs);
      writer.int32(minBytes);
      writer.int32(maxBytes);
      writer.int8(committed ? 1 : 0);
      writer.array([topic], () => {
        writer.string(topic);
        writer.array([partition], () => {
          writer.int32(partition);
          writer.int64(offset);
          writer.int32(maxBytes);
        });
      });
    });
    reader.int32();
    const [partitions] = reader.array(() => {
      reader.string();
      return reader.array(() => {
        reader.int32();
        return {
          errorCode: reader.int16(),
          highWatermark: reader.int64(),
          lastStableOffset: reader.int64(),
          aborted: reader.array(() => ({ producerId: reader.int64(), firstOffset: reader.int64() })),
          records: reader.byteString(),
        };
      });
    });
    const [fetched] = partitions ?? [];
    if (fetched === undefined) throw new Error('The Fetch answer has no partition.');
    return fetched;
  }

  async initProducer(
    transactionalId: string | null,
    timeoutMs = 60_000,
  ): Promise<Producer & { errorCode: number }> {
    const reader = await this.call(22, 0, (writer) => {
      writer.nullableString(transactionalId);
      writer.int32(timeoutMs);
    });
    reader.int32();
    return { errorCode: reader.int16(), producerId: reader.int64(), epoch: reader.int16() };
  }

  async addPartitions(
    id: string,
    producer: Producer,
    topic: string,
    partitions: number[],
  ): Promise<number[]> {
    const reader = await this.call(24, 0, (writer) => {
      writeProducer(writer, id, producer);
      writer.array([topic], () => {
        writer.string(topic);
        writer.array(partitions, (partition) => writer.int32(partition));
      });
    });
    reader.int32();
    return reader
      .array(() => {
        reader.string();
        return reader.array(() => [reader.int32(), reader.int16()][1] ?? -1);
      })
      .flat();
  }

  async endTransaction(id: string, producer: Producer, commit: boolean): Promise<number> {
    const reader = await this.call(26, 0, (writer) => {
      writeProducer(writer, id, producer);
      writer.boolean(commit);
    });
    reader.int32();
    return reader.int16();
  }

  /** Returns all records that a correct client shows, from the start to the end of a partition. */
  async readAll(
    topic: string,
    partition: number,
    committed: boolean,
  ): Promise<{ offset: number; value: string }[]> {
    const shown: { offset: number; value: string }[] = [];
    let offset = 0;
    for (;;) {
      const fetched = await this.fetch(topic, partition, offset, { committed });
      if (fetched.errorCode !== 0) throw new Error(`Fetch failed with Kafka error ${fetched.errorCode}.`);
      if (fetched.records.length === 0) return shown;
      const { records, next } = visibleRecords(fetched, offset);
      shown.push(...records);
      offset = next;
    }
  }
}

/** Filters aborted transactions as clients do: by the aborted list, until the abort marker. */
function visibleRecords(
  { records: bytes, aborted }: FetchResult,
  from: number,
): { records: { offset: number; value: string }[]; next: number } {
  const records: { offset: number; value: string }[] = [];
  const toAbort = [...aborted];
  const aborting = new Set<number>();
  let next = from;
  for (
    let at = 0;
    at + 61 <= bytes.length && at + batchSize(bytes, at) <= bytes.length;
    at += batchSize(bytes, at)
  ) {
    const header = readHeader(bytes, at);
    const batch = bytes.subarray(at, at + header.size);
    while (toAbort[0] !== undefined && toAbort[0].firstOffset <= header.lastOffset) {
      aborting.add(toAbort[0].producerId);
      toAbort.shift();
    }
    next = header.lastOffset + 1;
    if (isControl(header)) aborting.delete(header.producerId);
    else if ((header.attributes & transactionalFlag) === 0 || !aborting.has(header.producerId)) {
      for (const record of decodeRecords(batch, header) ?? []) {
        if (record.offset >= from)
          records.push({ offset: record.offset, value: record.value?.toString() ?? '' });
      }
    }
  }
  return { records, next };
}

/** Returns a batch of text records; with a producer it is idempotent. */
export function textBatch(values: readonly string[], fields: Partial<BatchFields> = {}): Buffer {
  const plain = encodeRecords(
    values.map((value) => ({ key: null, value: Buffer.from(value) })),
    fields.baseTimestamp ?? 1_700_000_000_000,
  );
  const header = readHeader(plain);
  return buildBatch({ ...header, lastOffsetDelta: values.length - 1, ...fields }, plain.subarray(61));
}

function writeProducer(writer: Writer, id: string, { producerId, epoch }: Producer): void {
  writer.string(id);
  writer.int64(producerId);
  writer.int16(epoch);
}
