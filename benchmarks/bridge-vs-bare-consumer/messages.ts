import { connect } from 'amqplib';
import { newEventId } from '../../processors/events/ids.js';
import type { NewRecord } from '../../streams/records.js';
import { type BenchLog, sampleEvents } from '../bench-log.js';

/** The queue that the bridge reads by default. */
export const queue = 'alicpp_records';

/** Publishes messages to the queue as programs do, and waits until RabbitMQ has confirmed them. */
export async function fillQueue({ pipeline }: BenchLog, url: string, count: number): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(queue, { durable: true });
  const events = sampleEvents(pipeline, 5_000);
  const timestamp = new Date().toISOString();
  for (let number = 0; number < count; number++) {
    const body = { ID: number, ...events[number % events.length], timestamp };
    channel.sendToQueue(queue, Buffer.from(JSON.stringify(body)), {
      persistent: true,
      contentType: 'application/json',
      ...(number % 2 === 0 ? { messageId: newEventId() } : {}),
    });
    if (number % 1_000 === 999) await channel.waitForConfirms();
  }
  await channel.waitForConfirms();
  await connection.close();
}

/** Returns the events on the log, to be sent again. */
export async function readEvents({ streams, pipeline }: BenchLog): Promise<NewRecord[]> {
  const records: NewRecord[] = [];
  const follower = await streams.follow({
    topics: [pipeline.topics.events],
    handle: (batch) => {
      for (const { topic, key, value, headers } of batch) records.push({ topic, key, value, headers });
    },
  });
  await follower.whenCaughtUp({ timeoutMs: 60_000 });
  await follower.stop();
  // By id, which begins with a time: so batches are spread over the partitions as originally.
  return records.toSorted((a, b) => String(a.key).localeCompare(String(b.key)));
}
