import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KafkaBroker } from '../../embedded/kafka/broker.js';
import { WireClient } from '../../embedded/kafka/testing/wire-client.js';
import { packageRoot } from '../../platform/paths.js';
import { apacheKafka, describeClient } from './installed.js';
import { Program } from './program.js';

const api = { produce: 0, initProducerId: 22 };

describeClient(apacheKafka(), (java) => {
  let folder: string;
  let broker: KafkaBroker;
  let port: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-epochs-'));
    broker = new KafkaBroker({ dataDir: folder, port: 0 });
    ({ port } = await broker.start());
  });
  afterEach(async () => {
    await broker.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('a transactional producer that lost an answer continues in a higher epoch', async () => {
    const asked: unknown[] = [];
    broker.intercept(api.initProducerId, ({ version, body }) => {
      asked.push({ version, ...Object(body) });
    });
    const answerAgain = broker.intercept(api.produce, () => 'drop-answer');
    const source = join(packageRoot, 'tests', 'clients', 'java', 'EpochBump.java');
    const producer = new Program(java, [source, `127.0.0.1:${port}`, 'bump']);
    const wire = await WireClient.connect(port);
    try {
      await producer.until(({ stdout }) => stdout.includes('timed out'));
      answerAgain();
      expect((await producer.finished()).stdout).toBe('timed out\ncommitted\n');
      expect(asked).toMatchObject([
        { version: 4, known: { producerId: -1, epoch: -1 } },
        { version: 4, known: { producerId: expect.any(Number), epoch: 0 } },
      ]);
      const values = async (committed: boolean): Promise<string[]> =>
        (await wire.readAll('bump', 0, committed)).map(({ value }) => value);
      expect(await values(true)).toEqual(['kept']);
      // It was written once, though it was sent repeatedly.
      expect((await values(false)).filter((value) => value === 'lost')).toHaveLength(1);
    } finally {
      wire.close();
      await producer.stop('SIGKILL');
    }
  });
});
