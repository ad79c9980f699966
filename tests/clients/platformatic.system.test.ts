import { expect, test } from 'vitest';
import { BrokerFixture, compressions, unique } from './broker.js';
import { describeClient, platformaticKafka } from './installed.js';
import { run } from './program.js';

// It supports only the newer, flexible versions of every API.
describeClient(platformaticKafka(), (client) => {
  const broker = new BrokerFixture();
  const play = async (scenario: string, topic: string): Promise<unknown> => {
    const { stdout } = await run(client, [broker.address, scenario, topic]);
    return JSON.parse(stdout);
  };

  test('topics, settings, groups by state, sizes, access lists', async () => {
    expect(await play('admin', unique('platformatic-admin'))).toEqual({
      created: [2, 1, '60000'],
      state: 'STABLE',
      filtered: false,
      members: 1,
      hasBytes: [1],
      acls: 'SECURITY_DISABLED',
      retention: '60000',
      deleted: true,
    });
  });

  test('keys, headers and every codec', async () => {
    const topic = unique('platformatic-records');
    const everyRecord = { none: 100, gzip: 100, snappy: 100, lz4: 100, zstd: 100 };
    expect(await play('records', topic)).toEqual(everyRecord);
    for (const codec of compressions) expect(await broker.codecOf(`${topic}-${codec}`)).toBe(codec);
  });

  test('a group continues where a member that left has committed', async () => {
    expect(await play('group', unique('platformatic-group'))).toEqual({ inOrder: true });
  });

  test('an aborted transaction leaves nothing behind, a committed one moves records and offsets', async () => {
    expect(await play('transactions', unique('platformatic-transactions'))).toEqual({
      abort: [],
      commit: [20],
      read_committed: 'commit 0',
      read_uncommitted: 'abort 0',
    });
  });
});
