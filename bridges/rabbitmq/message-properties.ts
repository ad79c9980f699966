import type { MessageProperties } from 'amqplib';
import { shortText } from './fit-properties.js';

/**
 * A value that amqplib would write as another type: `{ '!': type, value }` tells amqplib its type. 64-bit
 * integers that a double can't hold are decimal text.
 */
interface Typed {
  '!': string;
  value: unknown;
}

/** Header with the bytes of a table from the first unreadable position. */
export const undecodedHeader = 'millrace-undecoded-headers';

/** In the order of their flags, from the highest bit. AMQP 0-9-1, class basic. */
const names = [
  'contentType',
  'contentEncoding',
  'headers',
  'deliveryMode',
  'priority',
  'correlationId',
  'replyTo',
  'expiration',
  'messageId',
  'timestamp',
  'type',
  'userId',
  'appId',
  'clusterId',
] as const;

/**
 * Reads the properties of a message from the payload of its header frame, whatever they contain. amqplib's
 * decoder ends the connection at an unknown type (`L`, a signed 64-bit integer of Celery and kombu), and
 * converts long integers to doubles and non-UTF-8 bytes to U+FFFD. Types:
 * https://www.rabbitmq.com/amqp-0-9-1-errata#section_3
 *
 * @param payload - from the flags on.
 * @returns `timestamp` as text where a double can't hold it.
 */
export function decodeProperties(payload: Buffer): MessageProperties {
  const read = new Reader(payload);
  const flags = read.uint(2);
  const properties: Record<string, unknown> = {};
  names.forEach((name, index) => {
    if ((flags & (0x8000 >> index)) === 0) return;
    if (name === 'headers') properties[name] = read.headers();
    else if (name === 'deliveryMode' || name === 'priority') properties[name] = read.uint(1);
    else if (name === 'timestamp') properties[name] = seconds(read.bytes(8).readBigUInt64BE());
    else properties[name] = read.bytes(read.uint(1)).toString();
  });
  return properties as unknown as MessageProperties;
}

/** Tables nested deeper than this count as unreadable, since they are handled by recursion. */
const deepest = 100;

class Reader {
  readonly #from: Buffer;
  readonly #depth: number;
  #at = 0;

  constructor(from: Buffer, depth = 0) {
    if (depth > deepest) throw new RangeError('too deep');
    this.#from = from;
    this.#depth = depth;
  }

  bytes(count: number): Buffer {
    if (this.#at + count > this.#from.length) throw new RangeError('ends too early');
    return this.#from.subarray(this.#at, (this.#at += count));
  }

  uint(count: 1 | 2 | 4): number {
    return this.bytes(count).readUIntBE(0, count);
  }

  /** Reads headers as far as possible, and keeps the bytes of the rest. */
  headers(): Record<string, unknown> {
    const read = new Reader(this.bytes(this.uint(4)));
    const fields: [string, unknown][] = [];
    let good = 0;
    try {
      while (!read.#ended) {
        fields.push(read.#field());
        good = read.#at;
      }
    } catch {
      fields.push([undecodedHeader, read.#from.subarray(good)]);
    }
    return Object.fromEntries(fields);
  }

  get #ended(): boolean {
    return this.#at === this.#from.length;
  }

  #field(): [string, unknown] {
    // A name that is not UTF-8 grows.
    return [shortText(this.bytes(this.uint(1)).toString()), this.#value()];
  }

  #value(): unknown {
    const tag = this.bytes(1).toString('latin1');
    switch (tag) {
      case 't':
        return this.uint(1) !== 0;
      case 'b':
        return this.bytes(1).readInt8();
      case 'B':
        return this.uint(1);
      case 's':
        return this.bytes(2).readInt16BE();
      case 'u':
        return this.uint(2);
      case 'I':
        return this.bytes(4).readInt32BE();
      case 'i':
        return this.uint(4);
      case 'l':
      case 'L':
        return long('int64', this.bytes(8).readBigInt64BE());
      case 'f':
        return { '!': 'float', value: this.bytes(4).readFloatBE() } satisfies Typed;
      case 'd':
        return double(this.bytes(8).readDoubleBE());
      case 'D': {
        const places = this.uint(1);
        return { '!': 'decimal', value: { places, digits: this.uint(4) } } satisfies Typed;
      }
      case 'T':
        return { '!': 'timestamp', value: String(this.bytes(8).readBigUInt64BE()) } satisfies Typed;
      case 'S':
        return text(this.bytes(this.uint(4)));
      case 'x':
        return this.bytes(this.uint(4));
      case 'A':
        return this.#inner().#array();
      case 'F':
        return this.#inner().#table();
      case 'V':
        return null;
      default:
        throw new TypeError(`unknown type ${tag}`);
    }
  }

  #inner(): Reader {
    return new Reader(this.bytes(this.uint(4)), this.#depth + 1);
  }

  #array(): unknown[] {
    const values: unknown[] = [];
    while (!this.#ended) values.push(this.#value());
    return values;
  }

  #table(): object {
    const fields: [string, unknown][] = [];
    while (!this.#ended) fields.push(this.#field());
    const table = Object.fromEntries(fields);
    // Otherwise amqplib would treat it as a typed value.
    return Object.hasOwn(table, '!') ? ({ '!': 'object', value: table } satisfies Typed) : table;
  }
}

function seconds(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}

function long(type: 'int64', value: bigint): number | Typed {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : { '!': type, value: String(value) };
}

/** amqplib writes a double without a fraction as an integer, and can't write all of those. */
function double(value: number): number | Typed {
  return Number.isFinite(value) && !Number.isInteger(value) ? value : { '!': 'double', value };
}

/** Text that is not UTF-8 stays bytes. */
function text(bytes: Buffer): string | Buffer {
  const decoded = bytes.toString();
  return Buffer.byteLength(decoded) === bytes.length && Buffer.from(decoded).equals(bytes) ? decoded : bytes;
}

/** The part of amqplib's connection that extracts frames from the received bytes. */
interface FrameSource {
  rest: Buffer;
  recvFrame(): unknown;
}

const frameStart = 7;
const headerFrame = 2;

/**
 * Makes an amqplib connection read message properties with `decodeProperties`. Its own decoder can't be
 * replaced.
 *
 * @param connection - `ChannelModel.connection`, once it is open.
 */
export function readPropertiesOf(connection: unknown): void {
  const source = connection as FrameSource;
  if (typeof source.recvFrame !== 'function' || !Buffer.isBuffer(source.rest))
    throw new TypeError('This version of amqplib takes frames in a way that is not known here.');
  const original = source.recvFrame.bind(source);
  source.recvFrame = () => takeHeaderFrame(source) ?? original();
}

/**
 * Returns the next frame if it is a complete message header, in the form in which amqplib passes frames on.
 */
function takeHeaderFrame(source: FrameSource): object | undefined {
  const { rest } = source;
  if (rest.length < frameStart || rest[0] !== headerFrame) return undefined;
  const end = frameStart + rest.readUInt32BE(3);
  // Byte 206 ends a frame; amqplib reports a frame that ends otherwise.
  if (rest.length <= end || rest[end] !== 206) return undefined;
  source.rest = rest.subarray(end + 1);
  const payload = rest.subarray(frameStart, end);
  return {
    id: payload.readUInt16BE(0),
    channel: rest.readUInt16BE(1),
    size: Number(payload.readBigUInt64BE(4)),
    fields: decodeProperties(payload.subarray(12)),
  };
}
