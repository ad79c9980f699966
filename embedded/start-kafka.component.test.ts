import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type EmbeddedKafka, startKafka } from './index.js';

describe('startKafka', () => {
  let folder: string;
  const running: EmbeddedKafka[] = [];
  const start: typeof startKafka = async (options) => {
    const kafka = await startKafka(options);
    running.push(kafka);
    return kafka;
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'start-kafka-'));
    vi.stubEnv('TMPDIR', folder);
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((kafka) => kafka.stop()));
    await rm(folder, { recursive: true, force: true });
  });

  it('serves a Kafka client and a registry on free ports, and removes its temporary folder', async () => {
    const kafka = await start({ registryPort: 0 });
    expect(await readdir(folder)).toHaveLength(1);
    await produce(kafka, 'rides', ['first', 'second']);
    expect(await consume(kafka, 'rides', 2)).toEqual(['first', 'second']);

    const answer = await fetch(`${kafka.registryUrl}/subjects/rides-value/versions`, {
      method: 'POST',
      body: JSON.stringify({ schema: '"string"' }),
    });
    expect(await answer.json()).toEqual({ id: 1 });
    await kafka.stop();
    expect(await readdir(folder)).toEqual([]);
  });

  it('keeps the data in a given folder', async () => {
    const dataDir = join(folder, 'data');
    const before = await start({ dataDir });
    expect(before).toMatchObject({ registryPort: undefined, registryUrl: undefined });
    await produce(before, 'rides', ['kept']);
    await before.stop();
    expect(await consume(await start({ dataDir }), 'rides', 1)).toEqual(['kept']);
  });

  it('names the option of a port that is in use, and leaves no folder behind', async () => {
    const { port } = await start({ dataDir: join(folder, 'data') });
    for (const [option, options] of [
      ['port', { port }],
      ['registryPort', { registryPort: port }],
    ] as const)
      await expect(startKafka(options)).rejects.toMatchObject({
        code: 'PORT_IN_USE',
        message: expect.stringContaining(`set ${option} to another port`) as string,
      });
    expect(await readdir(folder)).toEqual(['data']);
  });
});

function clientOf({ brokers }: EmbeddedKafka): Kafka {
  return new Kafka({ brokers, logLevel: logLevel.NOTHING });
}

async function produce(kafka: EmbeddedKafka, topic: string, values: string[]): Promise<void> {
  const producer = clientOf(kafka).producer();
  await producer.connect();
  await producer.send({ topic, messages: values.map((value) => ({ value })) });
  await producer.disconnect();
}

async function consume(kafka: EmbeddedKafka, topic: string, count: number): Promise<unknown[]> {
  const consumer = clientOf(kafka).consumer({ groupId: 'test' });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const values: unknown[] = [];
  await new Promise<void>((resolve, reject) => {
    const eachMessage = async ({ message }: { message: { value: Buffer | null } }): Promise<void> => {
      if (values.push(message.value?.toString()) === count) resolve();
    };
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
  return values;
}
