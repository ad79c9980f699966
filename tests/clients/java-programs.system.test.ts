import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { BrokerFixture, unique } from './broker.js';
import { apacheKafka, describeClient } from './installed.js';
import { lines, Program, run } from './program.js';

describeClient(apacheKafka(), (java) => {
  const broker = new BrokerFixture();
  const source = (name: string): string => join(packageRoot, 'tests', 'clients', 'java', `${name}.java`);

  const produce = async (topic: string, values: readonly string[]): Promise<void> => {
    const producer = ['org.apache.kafka.tools.ConsoleProducer', '--bootstrap-server', broker.address];
    await run(java, [...producer, '--topic', topic], values.map((value) => `${value}\n`).join(''));
  };

  /** Prints `key<tab>value` of committed records, from the beginning, until it is stopped. */
  const reader = (topic: string): Program =>
    new Program(java, [
      'org.apache.kafka.tools.consumer.ConsoleConsumer',
      '--bootstrap-server',
      broker.address,
      '--topic',
      topic,
      '--from-beginning',
      '--isolation-level',
      'read_committed',
      '--formatter-property',
      'print.key=true',
    ]);

  test('a consume-transform-produce loop: offsets and records commit, abort and are fenced together', async () => {
    const [from, to] = [unique('java-from'), unique('java-to')];
    await Promise.all([broker.createTopic(from, 2), broker.createTopic(to, 1)]);
    await produce(from, ['a', 'b', 'c', 'd']);
    const copy = async (count: number, ending: string): Promise<string> =>
      (
        await run(java, [source('TransactionalCopy'), broker.address, from, to, String(count), ending])
      ).stdout.trim();
    const output = reader(to);
    try {
      expect(await copy(4, 'abort')).toBe('abort');
      expect(await copy(4, 'fence')).toBe('fenced');
      // It gets all four again: the offsets were aborted with the records.
      expect(await copy(4, 'commit')).toBe('commit');
      await produce(from, ['e', 'f']);
      expect(await copy(2, 'commit')).toBe('commit');
      await output.until(({ stdout }) => lines(stdout).length >= 6);
      expect(lines(output.stdout).slice(0, 4).toSorted()).toEqual(
        ['a', 'b', 'c', 'd'].map((value) => `null\t${value}`),
      );
      expect(lines(output.stdout).slice(4).toSorted()).toEqual(['e', 'f'].map((value) => `null\t${value}`));
    } finally {
      await output.stop();
    }
  });

  test('Kafka Streams counts exactly once (exactly_once_v2) through a kill -9 and a restart', async () => {
    const [from, to] = [unique('words'), unique('counts')];
    await Promise.all([broker.createTopic(from, 2), broker.createTopic(to, 1)]);
    const state = await mkdtemp(join(tmpdir(), 'millrace-streams-'));
    const start = (): Program => new Program(java, [source('WordCount'), broker.address, from, to, state]);
    const words = ['mill', 'race', 'stone', 'wheel', 'water'];
    const sentence = words.join(' ');
    const sentences = 2000;
    const total = sentences * words.length;

    const output = reader(to);
    const countsSeen = (): number => output.stdout.split('\n').length - 1;
    let app = start();
    try {
      await produce(
        from,
        Array.from({ length: sentences }, () => sentence),
      );
      await output.until(() => countsSeen() >= 1);
      await app.stop('SIGKILL');
      app = start();
      await Promise.race([output.until(() => countsSeen() >= total), app.finished()]);
      await app.stop();

      const updates = lines(output.stdout).map((line) => line.split('\t'));
      const everyCount = Array.from({ length: sentences }, (_, index) => index + 1);
      for (const word of words) {
        const counts = updates.filter(([counted]) => counted === word).map(([, count]) => Number(count));
        // Each count once, and in order: nothing was lost or counted twice.
        expect(counts, word).toEqual(everyCount);
      }
      expect(countsSeen()).toBe(total);
    } finally {
      await Promise.all([app.stop('SIGKILL'), output.stop()]);
      await rm(state, { recursive: true, force: true });
    }
  });
});
