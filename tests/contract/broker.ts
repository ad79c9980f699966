import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKafka } from '../../embedded/kafka/start.js';
import { testEngines } from '../system/engines/chosen.js';
import { startExternalLog } from '../system/engines/external.js';

/** The broker of a test file: external, or embedded. */
export interface TestBroker {
  /** `host:port` of each. */
  brokers: string[];
  /** Whether it is the embedded one. */
  embedded: boolean;
  stop: () => Promise<void>;
}

/**
 * Starts the broker under test. `KAFKA_BROKERS` (comma-separated) names an external one. Otherwise
 * `MILLRACE_TEST_ENGINES` selects the kind of a broker for this test file only; the default is an embedded
 * one on a free port and a temporary folder.
 */
export async function startTestBroker(): Promise<TestBroker> {
  const given = process.env['KAFKA_BROKERS'];
  if (given) return { brokers: given.split(','), embedded: false, stop: () => Promise.resolve() };

  if (testEngines !== 'embedded') {
    const { settings, log } = await startExternalLog();
    return { brokers: settings.KAFKA_BROKERS.split(','), embedded: false, stop: () => log.stop() };
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-test-kafka-'));
  const kafka = await startKafka({ dataDir, host: '127.0.0.1', port: 0 });
  return {
    brokers: [`127.0.0.1:${kafka.port}`],
    embedded: true,
    stop: async () => {
      await kafka.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
