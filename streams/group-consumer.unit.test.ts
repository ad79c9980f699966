import type { ConsumerRunConfig, EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs';
import { expect, onTestFinished, test, vi } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import { GroupConsumer } from './group-consumer.js';

class IdleConsumer extends GroupConsumer {
  protected override onBatch(): Promise<void> {
    return Promise.resolve();
  }

  protected override onJoin(): void {}
}

const idle = {
  on: () => () => undefined,
  connect: () => Promise.resolve(),
  subscribe: () => Promise.resolve(),
  run: () => Promise.resolve(),
  disconnect: () => Promise.resolve(),
};

function kafkaOf(consumer: object): Kafka {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the part of it that is used here
  return { consumer: () => consumer } as unknown as Kafka;
}

test('a pause that outlasts its crashed consumer ends without an error', async () => {
  const problems: unknown[] = [];
  const note = (error: unknown): void => void problems.push(error);
  process.on('unhandledRejection', note);
  const resume = vi.fn<() => never>(() => {
    throw new Error('Consumer group was not initialized, consumer#run must be called first');
  });
  const kafka = kafkaOf({ ...idle, pause: () => undefined, resume });
  const group = new IdleConsumer(kafka, silentLogger, { groupId: 'g', topics: ['t'] });
  try {
    group.hold({ topic: 't', partition: 0 }, new Error('not now'), { firstMs: 1, maxMs: 1 });
    await vi.waitFor(() => expect(resume).toHaveBeenCalledOnce());
    await new Promise(setImmediate);
    expect(problems).toEqual([]);
  } finally {
    await group.stop();
    process.off('unhandledRejection', note);
  }
});

interface Gathering {
  messages: number;
  awaited?: number;
  /** How long the partition pauses after them, milliseconds. */
  pauses: number;
}

test.each<Gathering>([
  { messages: 1, pauses: 20 },
  { messages: 200, pauses: 0 },
  { messages: 1, awaited: 0, pauses: 100 },
  { messages: 999, awaited: 0, pauses: 100 },
  { messages: 1_000, awaited: 0, pauses: 0 },
  { messages: 199, awaited: 1, pauses: 20 },
])('after a batch, the next records gather: %o', async ({ messages, awaited, pauses }) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  let run: ConsumerRunConfig = {};
  const kafka = kafkaOf({
    ...idle,
    run: (config: ConsumerRunConfig) => Promise.resolve(void (run = config)),
  });
  const isAwaited = ({ offset }: KafkaMessage): boolean => Number(offset) < (awaited ?? 0);
  const options = { groupId: 'g', topics: ['t'], ...(awaited === undefined ? {} : { isAwaited }) };
  const group = new IdleConsumer(kafka, silentLogger, options);
  onTestFinished(() => group.stop());
  await vi.waitFor(() => expect(run.eachBatch).toBeDefined());
  const batch = { messages: Array.from({ length: messages }, (_, offset) => ({ offset: String(offset) })) };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the part of it that is used here
  const payload = { batch, heartbeat: () => Promise.resolve() } as unknown as EachBatchPayload;
  let isDone = false;
  const done = run.eachBatch?.(payload).then(() => (isDone = true));
  await vi.advanceTimersByTimeAsync(Math.max(pauses - 1, 0));
  expect(isDone).toBe(pauses === 0);
  await vi.advanceTimersByTimeAsync(1);
  await done;
});
