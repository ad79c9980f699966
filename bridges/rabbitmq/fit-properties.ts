import type { Options } from 'amqplib';

/**
 * Header of a message whose properties were too large to send: the number of headers that were cut or
 * dropped.
 */
export const cutHeader = 'millrace-headers-cut';

/** Maximum bytes of an AMQP short string, such as a property, a routing key or a header name. */
const maxShortTextBytes = 255;

/** Size of the buffer into which amqplib writes headers. */
const largestHeaders = 65_536;

/**
 * Overhead of the frame with the properties: its own header and end, class, body size, flags, priority, mode
 * and timestamp.
 */
const besideTexts = 8 + 12 + 2 + 2 + 8;

/** Kept length of a long text. */
const keptCharacters = 200;

/** Returns the beginning of a text that fits into a short string. */
export function shortText(text: string, bytes = maxShortTextBytes): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  // The decoder holds back an incomplete character.
  return new TextDecoder().decode(Buffer.from(text).subarray(0, bytes), { stream: true });
}

/** Whether a text fits into a property or a routing key. */
export function isShortText(text: string): boolean {
  return Buffer.byteLength(text) <= maxShortTextBytes;
}

/**
 * Fits properties to the limits of RabbitMQ and amqplib. Long texts are cut. Headers are cut as well, the
 * largest first, until all fit into a frame; `millrace-headers-cut` counts them.
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
  // First cut each long text; if that is not enough, drop whole headers.
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

/** Maximum bytes that amqplib writes for a value, including its type tag. */
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
