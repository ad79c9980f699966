import { once } from 'node:events';
import { connect, type ConsumeMessage } from 'amqplib';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord } from '../../streams/records.js';

/** The same as the bridge's. */
const batchMessages = 1_000;

/**
 * Sends a record for each message of a queue, and acknowledges sent ones.
 *
 * @returns seconds from the first batch until the log has acknowledged the last.
 */
export async function consumeBare(
  url: string,
  queue: string,
  prefetch: number,
  producer: LogProducer,
  records: readonly NewRecord[],
): Promise<number> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.prefetch(prefetch);
  const incoming: ConsumeMessage[] = [];
  let wake = (): void => undefined;
  await channel.consume(queue, (message) => {
    if (message !== null) incoming.push(message);
    wake();
  });
  // The bridge also waits for this number before it starts.
  while (incoming.length < Math.min(prefetch, records.length))
    await new Promise<void>((resolve) => (wake = resolve));
  const started = performance.now();
  for (let sent = 0; sent < records.length;) {
    if (incoming.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    const batch = incoming.splice(0, batchMessages);
    await producer.send(records.slice(sent, sent + batch.length));
    sent += batch.length;
    const last = batch.at(-1);
    if (last !== undefined) channel.ack(last, true);
  }
  const seconds = (performance.now() - started) / 1000;
  const closed = once(connection, 'close');
  await channel.close();
  await connection.close();
  await closed;
  return seconds;
}
