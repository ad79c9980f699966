import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { kafkajs } from '../../streams/kafkajs.js';

/** Records of one size, and their file for kcat. */
export interface Load {
  count: number;
  bytes: number;
  value: string;
  /** One record a line. */
  file: string;
}

/** A client's work with a broker; resolves with records a second. */
export type Task = (address: string, topic: string, load: Load) => Promise<number>;

export interface Client {
  name: string;
  produce: Task;
  consume: Task;
}

/** Records in one call of kafkajs' `send`, and concurrent calls. */
const recordsPerSend = 500;
const sendsAtOnce = 4;

let groups = 0;

export const withKafkajs: Client = {
  name: 'kafkajs',

  async produce(address, topic, { count, value }) {
    const producer = connectionTo(address).producer({ allowAutoTopicCreation: false });
    await producer.connect();
    const messages = Array.from({ length: recordsPerSend }, () => ({ key: null, value }));
    let sends = Math.ceil(count / recordsPerSend);
    const sender = async (): Promise<void> => {
      while (sends-- > 0) await producer.send({ topic, messages, acks: -1 });
    };
    const seconds = await timed(() => Promise.all(Array.from({ length: sendsAtOnce }, sender)));
    await producer.disconnect();
    return count / seconds;
  },

  async consume(address, topic, { count }) {
    const consumer = connectionTo(address).consumer({ groupId: `bench-${++groups}`, maxWaitTimeInMs: 100 });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    let read = 0;
    let uncounted = 0;
    let started = 0;
    const seconds = await timed(
      () =>
        new Promise<void>((resolve, reject) => {
          const eachBatch = ({ batch }: { batch: { messages: unknown[] } }): Promise<void> => {
            read += batch.messages.length;
            // Joining the group is not measured: the clock starts with the first records.
            if (started === 0) [started, uncounted] = [performance.now(), read];
            if (read >= count) resolve();
            return Promise.resolve();
          };
          consumer.run({ eachBatch }).catch(reject);
        }),
      () => started,
    );
    await consumer.disconnect();
    return (count - uncounted) / seconds;
  },
};

export const withKcat: Client = {
  name: 'kcat',
  produce: async (address, topic, { count, file }) =>
    count / (await timed(() => kcat('-P', '-b', address, '-t', topic, '-l', file))),
  consume: async (address, topic, { count }) =>
    count /
    (await timed(() => kcat('-C', '-b', address, '-t', topic, '-o', 'beginning', '-c', `${count}`, '-q'))),
};

export async function writeLines({ file, count, value }: Load): Promise<void> {
  await writeFile(file, `${value}\n`.repeat(count));
}

/** A topic of one partition. */
export async function createTopic(address: string, topic: string): Promise<void> {
  const admin = connectionTo(address).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  await admin.disconnect();
}

function connectionTo(address: string): InstanceType<typeof kafkajs.Kafka> {
  return new kafkajs.Kafka({ brokers: [address], clientId: 'bench', logLevel: kafkajs.logLevel.ERROR });
}

async function kcat(...args: string[]): Promise<void> {
  const child = spawn('kcat', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`kcat ${args.join(' ')} ended with exit code ${code}.`);
}

/** Measures the seconds of an action, from its start or, if that is later, from `since()`. */
async function timed(action: () => Promise<unknown>, since = () => 0): Promise<number> {
  const began = performance.now();
  await action();
  return (performance.now() - Math.max(began, since())) / 1000;
}
