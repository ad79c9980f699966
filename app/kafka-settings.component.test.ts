import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KafkaBrokerOptions } from '../embedded/kafka/broker.js';
import { startKafka } from '../embedded/kafka/start.js';
import type { EmbeddedKafka } from '../embedded/kafka/start.js';
import { hasOpenssl, makeCertificate } from '../embedded/kafka/testing/certificate.js';
import { loadConfig } from '../platform/config.js';
import { silentLogger } from '../platform/logger.js';
import { createStreams } from '../streams/streams.js';
import type { Streams } from '../streams/streams.js';
import { kafkaSettings } from './connections.js';

const mechanisms = ['plain', 'scram-sha-256', 'scram-sha-512'];
const sasl = { users: { ada: 'pass,word=1 é' } };

let dataDir: string;
let kafka: EmbeddedKafka;
let streams: Streams;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-kafka-settings-'));
});

afterEach(async () => {
  await streams.close();
  await kafka.stop();
  await rm(dataDir, { recursive: true, force: true });
});

for (const mechanism of mechanisms) {
  describe(`KAFKA_SASL_MECHANISM=${mechanism}`, () => {
    const login = {
      KAFKA_SASL_MECHANISM: mechanism,
      KAFKA_SASL_USERNAME: 'ada',
      KAFKA_SASL_PASSWORD: 'pass,word=1 é',
    };

    test('records go in and come out', async () => {
      await start({ sasl });
      open(login);
      expect(await roundTrip()).toBe('through');
    });

    test.skipIf(!hasOpenssl)('with KAFKA_TLS too (needs openssl)', async () => {
      const { server: tls, caFile } = makeCertificate(dataDir);
      await start({ sasl, tls });
      open({ ...login, KAFKA_TLS: 'true', KAFKA_TLS_CA: caFile });
      expect(await roundTrip()).toBe('through');
    });

    test.each([
      ['password', { ...login, KAFKA_SASL_PASSWORD: 'wrong' }],
      ['user', { ...login, KAFKA_SASL_USERNAME: 'nobody' }],
    ])('a wrong %s is an error that no retry helps', async (_what, wrong) => {
      await start({ sasl });
      open(wrong);
      const creating = streams.createTopics([{ name: 't', partitions: 1, config: {} }]);
      await expect(creating).rejects.toMatchObject({
        code: 'LOG_UNAUTHORIZED',
        retriable: false,
        message: expect.stringContaining('KAFKA_SASL_*'),
      });
    });
  });
}

test.skipIf(!hasOpenssl)('KAFKA_TLS alone encrypts (needs openssl)', async () => {
  const { server: tls, caFile } = makeCertificate(dataDir);
  await start({ tls });
  open({ KAFKA_TLS: 'true', KAFKA_TLS_CA: caFile });
  expect(await roundTrip()).toBe('through');
});

async function start(options: Partial<Omit<KafkaBrokerOptions, 'logger' | 'clock'>>): Promise<void> {
  kafka = await startKafka({ dataDir: join(dataDir, 'kafka'), port: 0, ...options });
}

function open(settings: Record<string, string>): void {
  const brokers = [`127.0.0.1:${kafka.port}`];
  const config = loadConfig({ ...settings, KAFKA_BROKERS: brokers.join(',') });
  streams = createStreams({ ...kafkaSettings(config), brokers, clientId: 'test', logger: silentLogger });
}

async function roundTrip(): Promise<string> {
  await streams.createTopics([{ name: 't', partitions: 1, config: {} }]);
  const producer = await streams.createProducer();
  await producer.send([{ topic: 't', key: null, value: Buffer.from('through') }]);
  return await new Promise((resolve, reject) => {
    const handle = (records: readonly { value: Buffer | null }[]): Promise<void> => {
      resolve(records[0]?.value?.toString() ?? '');
      return Promise.resolve();
    };
    streams.consume({ groupId: 'g', topics: ['t'], handle }).catch(reject);
  });
}
