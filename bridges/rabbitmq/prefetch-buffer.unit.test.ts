/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import type { ConsumeMessage } from 'amqplib';
import { expect, test } from 'vitest';
import { PrefetchBuffer } from './prefetch-buffer.js';

const message = (bytes: number, redelivered = false): ConsumeMessage =>
  ({ content: Buffer.alloc(bytes), fields: { redelivered } }) as ConsumeMessage;

function filled(...messages: ConsumeMessage[]): PrefetchBuffer {
  const buffer = new PrefetchBuffer();
  for (const each of messages) buffer.add(each);
  return buffer;
}

test('a batch has at most a thousand messages, and about 8 MiB', () => {
  const many = filled(...Array.from({ length: 1_500 }, () => message(1)));
  expect([many.takeBatch().length, many.takeBatch().length, many.length]).toEqual([1_000, 500, 0]);
  const large = filled(message(5 << 20), message(5 << 20), message(20 << 20));
  expect([large.takeBatch().length, large.takeBatch().length, large.takeBatch().length]).toEqual([1, 1, 1]);
});

test('messages count as redelivered up to the first new one', () => {
  const messages = [message(1, true), message(2, true), message(3), message(4, true)];
  expect(filled(...messages).redelivered()).toEqual(messages.slice(0, 2));
  expect(filled(message(1, true)).redelivered()).toHaveLength(1);
});

test('waits for a message, or for the end', async () => {
  const ended = new AbortController();
  const buffer = new PrefetchBuffer();
  const waiting = buffer.whenSome(ended.signal);
  buffer.add(message(1));
  await waiting;
  buffer.take(1);
  const more = buffer.whenSome(ended.signal);
  ended.abort();
  await more;
  expect(buffer.length).toBe(0);
});
