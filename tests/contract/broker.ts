import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { vi } from 'vitest';
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
  if (given || testEngines !== 'embedded') {
    const { settings, log } = given
      ? { settings: { KAFKA_BROKERS: given }, log: undefined }
      : await startExternalLog();
    const brokers = settings.KAFKA_BROKERS.split(',');
    await whenCoordinating(brokers);
    return { brokers, embedded: false, stop: async () => log?.stop() };
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

/**
 * Waits until the coordinators of all groups are loaded: Apache Kafka does that when it is first asked for
 * one, and kafkajs does not wait for it. Of that many groups, some are on each partition of the topic of
 * offsets: brokers of tests have four.
 */
async function whenCoordinating(brokers: string[]): Promise<void> {
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
  try {
    await admin.connect();
    for (let group = 0; group < 40; group++)
      await vi.waitFor(() => admin.fetchOffsets({ groupId: `coordinated-${group}` }), { timeout: 20_000 });
  } finally {
    await admin.disconnect();
  }
}
