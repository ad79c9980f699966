import type { Message } from 'amqplib';
import { expect, test, vi } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import type { RabbitConnection } from './connection.js';
import type { OutgoingMessage, Published, Publisher } from './publisher.js';
import { ResultsQueues } from './results-queues.js';

const result: OutgoingMessage = {
  exchange: 'millrace.predictions',
  routingKey: 'credit-default.tree.none',
  content: Buffer.from('{}'),
  options: { messageId: 'a' },
};

test('a waiting result is retried when its queue is deleted meanwhile', async () => {
  const returned = [{ properties: { messageId: 'a' } } as Message];
  const outcomes: ((messages: readonly OutgoingMessage[]) => Partial<Published>)[] = [
    (messages) => ({ refused: [...messages] }),
    () => ({ returned }),
    () => ({}),
  ];
  const publish = vi.fn<Publisher['publish']>((messages) =>
    Promise.resolve({ returned: [], refused: [], invalid: [], ...outcomes.shift()?.(messages) }),
  );
  const queues = new ResultsQueues({
    queues: [{ queue: 'results', pattern: '#' }],
    connection: { status: () => ({ ok: true, since: 0 }) } as RabbitConnection,
    publisher: { publish } as unknown as Publisher,
    retryLimit: 5,
    retryDelayMs: 1,
    metrics: createMetrics(),
    logger: silentLogger,
  });
  await queues.note([result], [result]);
  await expect.poll(() => publish.mock.calls.length).toBe(3);
  await queues.stop();
  expect(queues.parts.get('rabbitmq results queue results')?.().ok).toBe(true);
});
