import type { Kafka } from 'kafkajs';
import { expect, test, vi } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import { GroupConsumer } from './group-consumer.js';

class IdleConsumer extends GroupConsumer {
  protected override onBatch(): Promise<void> {
    return Promise.resolve();
  }

  protected override onJoin(): void {}
}

test('a pause that outlasts its crashed consumer ends without an error', async () => {
  const problems: unknown[] = [];
  const note = (error: unknown): void => void problems.push(error);
  process.on('unhandledRejection', note);
  const resume = vi.fn<() => never>(() => {
    throw new Error('Consumer group was not initialized, consumer#run must be called first');
  });
  const consumer = {
    on: () => () => undefined,
    connect: () => Promise.resolve(),
    subscribe: () => Promise.resolve(),
    run: () => Promise.resolve(),
    disconnect: () => Promise.resolve(),
    pause: () => undefined,
    resume,
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the part of it that is used here
  const kafka = { consumer: () => consumer } as unknown as Kafka;
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
