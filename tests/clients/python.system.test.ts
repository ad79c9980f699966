import { expect, test } from 'vitest';
import { BrokerFixture, compressions, unique } from './broker.js';
import { describeClient, pythonClient } from './installed.js';
import { run } from './program.js';
import type { Command } from './program.js';

const administered = { partitions: 3, retention: '60000', alteredRetention: '604800000', deleted: true };

describeClient(pythonClient('confluent-kafka', 'confluent_client.py'), (client) => {
  testScenarios(client, 'confluent', {
    ...administered,
    end: 10,
    committed: [[1, 4]],
    state: 'EMPTY',
    listed: true,
    lowWatermark: [6],
  });
});

describeClient(pythonClient('aiokafka', 'aiokafka_client.py'), (client) => {
  testScenarios(client, 'aiokafka', administered);
});

/** Both programs run the same scenarios; administration covers what the library supports. */
function testScenarios(client: Command, name: string, administration: object): void {
  const broker = new BrokerFixture();
  const play = async (scenario: string, topic: string): Promise<unknown> => {
    const { stdout } = await run(client, [broker.address, scenario, topic]);
    return JSON.parse(stdout);
  };

  test('administration', async () => {
    expect(await play('admin', unique(`${name}-admin`))).toEqual(administration);
  });

  test('keys, headers and every codec', async () => {
    const topic = unique(`${name}-records`);
    const everyRecord = { none: 100, gzip: 100, snappy: 100, lz4: 100, zstd: 100 };
    expect(await play('records', topic)).toEqual(everyRecord);
    for (const codec of compressions) expect(await broker.codecOf(`${topic}-${codec}`)).toBe(codec);
  });

  test('a group continues where a member that left has committed', async () => {
    expect(await play('group', unique(`${name}-group`))).toEqual({ inOrder: true });
  });

  test('an aborted transaction leaves nothing behind, a committed one moves records and offsets', async () => {
    expect(await play('transactions', unique(`${name}-transactions`))).toEqual({
      // Each library's value for "nothing committed".
      abort: name === 'confluent' ? -1001 : null,
      commit: 20,
      read_committed: 'commit 0',
      read_uncommitted: 'abort 0',
    });
  });
}
