import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A broker that a test file may use: a given one, or an embedded one of its own. */
export interface TestBroker {
  /** `host:port` of each. */
  brokers: string[];
  /** Whether it is the embedded one, started for this test file. */
  embedded: boolean;
  stop: () => Promise<void>;
}

interface EmbeddedKafkaModule {
  startEmbeddedKafka: (options: {
    dataDir: string;
    host: string;
    port: number;
  }) => Promise<{ port: number; stop(): Promise<void> }>;
}

/**
 * The broker under test: `KAFKA_BROKERS` (comma-separated) when set, else the embedded one on a free port and a
 * temporary folder.
 */
export async function startTestBroker(): Promise<TestBroker> {
  const given = process.env['KAFKA_BROKERS'];
  if (given) return { brokers: given.split(','), embedded: false, stop: () => Promise.resolve() };

  const entry = new URL('../../embedded/kafka/start.js', import.meta.url).href;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- loaded only when no broker is given
  const { startEmbeddedKafka } = (await import(entry)) as EmbeddedKafkaModule;
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-test-kafka-'));
  const kafka = await startEmbeddedKafka({ dataDir, host: '127.0.0.1', port: 0 });
  return {
    brokers: [`127.0.0.1:${kafka.port}`],
    embedded: true,
    stop: async () => {
      await kafka.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
