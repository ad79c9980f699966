import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { describeRabbitMq, RabbitMq } from '../system/engines/rabbitmq-server.js';
import { startSystem, type TestSystem } from '../system/start.js';
import { describeClient, pythonClient } from './installed.js';
import { type Command, lines, Program, run } from './program.js';

const queue = 'alicpp_records';
const resultsQueue = 'alicpp_results';

interface Scored {
  score: number;
  label: string;
}

interface Result {
  routing_key: string;
  message_id: string;
  delivery_mode: number;
  content_type: string;
  body: Scored & { prediction_id: string; features: Record<string, number> };
}

describeClient(pythonClient('pika', 'pika_producer.py'), (producer) => {
  const [python] = producer;
  const program = (name: string): Command => [python, join(packageRoot, 'tests', 'clients', 'python', name)];
  const example = JSON.parse(
    readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
  ) as Record<string, number>;
  /** Distinguished by an amount. */
  const clients = Array.from({ length: 40 }, (_, number) => ({
    ...example,
    LIMIT_BAL: 10_000 * (1 + (number % 7)),
    PAY_0: (number % 5) - 1,
    BILL_AMT1: number,
  }));

  describeRabbitMq('', () => {
    let rabbitMq: RabbitMq;
    let system: TestSystem;
    /** Answers of `predict` for the same clients. */
    let expected: Scored[];

    beforeAll(async () => {
      rabbitMq = await RabbitMq.start();
      system = await startSystem({ RABBITMQ_URL: rabbitMq.url, RABBITMQ_RESULTS_QUEUES: resultsQueue });
      const response = await system.post('/v1/pipelines/credit-default/predict', clients);
      const { predictions } = (await response.json()) as { predictions: Scored[] };
      expected = predictions.map(({ score, label }) => ({ score, label }));
    });

    afterAll(async () => {
      await system?.stop();
      await rabbitMq?.stop();
    });

    test('a producer and a consumer of results', async () => {
      const before = clients.length;
      // `predict` has put the same clients on the results queue: it receives all predictions.
      const consumer = new Program(program('pika_consumer.py'), [
        rabbitMq.url,
        resultsQueue,
        String(before + clients.length),
      ]);
      await consumer.until(({ stderr }) => stderr.includes('waiting'));
      // Data frames convert every number to a float.
      const floats = JSON.stringify(clients).replaceAll(/"(AGE|PAY_0)":(-?\d+)/g, '"$1":$2.0');
      expect(floats).toContain('"AGE":34.0');
      await run(producer, [rabbitMq.url, floats, queue]);
      const { stdout } = await consumer.finished();
      const results = lines(stdout).map((line) => JSON.parse(line) as Result);
      for (const [number, { score, label }] of expected.entries()) {
        const own = results.filter(({ body }) => body.features['BILL_AMT1'] === number);
        expect(own).toHaveLength(2);
        for (const { body, ...properties } of own) {
          expect(body).toMatchObject({ score, label, features: clients[number] });
          expect(properties).toEqual({
            routing_key: `credit-default.credit-default.${label}`,
            message_id: body.prediction_id,
            delivery_mode: 2,
            content_type: 'application/json',
          });
        }
      }
    });

    test('several clients that ask and wait for the reply, at once', async () => {
      const asking = [0, 1, 2, 3, 4].map(async (client) => {
        const own = clients.slice(client * 8, client * 8 + 8);
        const { stdout } = await run(program('pika_request_reply.py'), [
          rabbitMq.url,
          queue,
          JSON.stringify(own),
        ]);
        return JSON.parse(stdout) as Scored[];
      });
      const replies = (await Promise.all(asking)).flat();
      expect(replies.map(({ score, label }) => ({ score, label }))).toEqual(expected);
    });

    test('an invalid request gets an error reply, and later ones are served', async () => {
      const requests = JSON.stringify([{ ...example, AGE: 17 }, clients[3]]);
      const { stdout } = await run(program('pika_request_reply.py'), [rabbitMq.url, queue, requests]);
      const [refused, answered] = JSON.parse(stdout) as [{ status: number; detail: string }, Scored];
      expect(refused.detail).toContain('AGE');
      expect(refused).toMatchObject({ code: 'EVENT_INVALID' });
      expect(answered).toMatchObject(expected[3] ?? {});
    });

    test('both sides agree on the queue, and it is empty', async () => {
      await vi.waitFor(
        async () =>
          expect(await rabbitMq.queue(queue)).toMatchObject({
            durable: true,
            auto_delete: false,
            arguments: {},
            messages: 0,
            messages_unacknowledged: 0,
          }),
        { timeout: 10_000, interval: 100 },
      );
      // Results of other clients' requests are on the queue too.
      await vi.waitFor(
        async () =>
          expect(await rabbitMq.queue(resultsQueue)).toMatchObject({
            durable: true,
            arguments: {},
            messages: clients.length + 1,
          }),
        { timeout: 10_000, interval: 100 },
      );
      expect(await rabbitMq.log()).not.toContain('PRECONDITION_FAILED');
    });
  });
});
