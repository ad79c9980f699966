import type { Options } from 'amqplib';

/**
 * Header of a message that had more in its properties than can be sent: how many headers were cut or left
 * out.
 */
export const cutHeader = 'millrace-headers-cut';

/** AMQP short strings, as properties, routing keys and names of headers are, have at most so many bytes. */
const maxShortTextBytes = 255;

/** amqplib writes headers into a buffer of this size. */
const largestHeaders = 65_536;

/**
 * Of the frame that holds the properties: its own header and end, class, body size, flags, priority, mode and
 * timestamp.
 */
const besideTexts = 8 + 12 + 2 + 2 + 8;

/** What is kept of a long text. */
const keptCharacters = 200;

/** The beginning of a text that fits into a short string. */
export function shortText(text: string, bytes = maxShortTextBytes): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  // The decoder holds a character back that is not complete.
  return new TextDecoder().decode(Buffer.from(text).subarray(0, bytes), { stream: true });
}

/** Whether a text can be a property or a routing key. */
export function isShortText(text: string): boolean {
  return Buffer.byteLength(text) <= maxShortTextBytes;
}

/**
 * Properties that RabbitMQ and amqplib take, whatever they were: long texts are cut; so are headers, the
 * largest first, until all fit into a frame, and `millrace-headers-cut` counts them.
 *
 * @param frameMax - bytes of a frame on the connection.
 */
export function fitProperties(options: Options.Publish, frameMax: number): Options.Publish {
  const fitting: Record<string, unknown> = { ...options };
  let taken = besideTexts;
  for (const [name, value] of Object.entries(fitting)) {
    if (typeof value !== 'string') continue;
    const text = shortText(value);
    fitting[name] = text;
    taken += 1 + Buffer.byteLength(text);
  }
  const headers = (options.headers ?? {}) as Record<string, unknown>;
  fitting['headers'] = fitHeaders(headers, Math.min(largestHeaders, frameMax - taken));
  return fitting;
}

interface Header {
  name: string;
  value: unknown;
  bytes: number;
}

function fitHeaders(given: Record<string, unknown>, limit: number): Record<string, unknown> {
  if (tableBytes(given) - 1 <= limit) return given;
  const headers = Object.entries(given).map(([name, value]) => toHeader(name, value));
  const mark = toHeader(cutHeader, headers.length);
  let over = 4 + mark.bytes + headers.reduce((sum, { bytes }) => sum + bytes, 0) - limit;
  const kept = new Map<string, unknown>(Object.entries(given));
  const cut = new Set<string>();
  const largestFirst = (one: Header, other: Header): number => other.bytes - one.bytes;
  // Each long text to its beginning; if that is not enough, whole headers.
  const shorter = headers.toSorted(largestFirst).map(({ name, value, bytes }): Header => {
    if (over <= 0 || typeof value !== 'string' || value.length <= keptCharacters)
      return { name, value, bytes };
    const header = toHeader(name, value.slice(0, keptCharacters));
    over -= bytes - header.bytes;
    kept.set(name, header.value);
    cut.add(name);
    return header;
  });
  for (const { name, bytes } of shorter.toSorted(largestFirst)) {
    if (over <= 0) break;
    over -= bytes;
    kept.delete(name);
    cut.add(name);
  }
  return { ...Object.fromEntries(kept), [cutHeader]: cut.size };
}

function toHeader(name: string, value: unknown): Header {
  return { name, value, bytes: 1 + Buffer.byteLength(name) + bytesOf(value) };
}

/** Most bytes that amqplib writes for a value, with the tag of its type. */
function bytesOf(value: unknown): number {
  if (typeof value === 'string') return 5 + Buffer.byteLength(value);
  if (Buffer.isBuffer(value)) return 5 + value.length;
  if (Array.isArray(value)) return 5 + value.reduce<number>((sum, each) => sum + bytesOf(each), 0);
  if (typeof value !== 'object' || value === null) return 9;
  const typed = value as { '!'?: string; value?: unknown };
  if (typed['!'] !== undefined) return typed['!'] === 'object' ? tableBytes(typed.value as object) : 9;
  return tableBytes(value);
}

function tableBytes(table: object): number {
  const fields = Object.entries(table);
  return 5 + fields.reduce((sum, [name, each]) => sum + 1 + Buffer.byteLength(name) + bytesOf(each), 0);
}
