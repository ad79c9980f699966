import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { apis } from '../../embedded/kafka/apis/index.js';
import { BrokerFixture, compressions, unique } from './broker.js';
import { describeClient, franzGo } from './installed.js';
import { run } from './program.js';

describeClient(franzGo(), (sources) => {
  const broker = new BrokerFixture();
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-franz-go-'));
    const offline = { ...process.env, GOPROXY: 'off' };
    const build = ['build', '-o', join(folder, 'client'), '.'];
    const { status, stderr } = spawnSync('go', build, { cwd: sources, env: offline, encoding: 'utf8' });
    if (status !== 0) throw new Error(`The franz-go client does not compile:\n${stderr}`);
  }, 120_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const play = async (scenario: string, topic: string): Promise<unknown> => {
    const { stdout } = await run([join(folder, 'client')], [broker.address, scenario, topic]);
    return JSON.parse(stdout);
  };

  test('kadm: topics, partitions, settings, group offsets, records', async () => {
    expect(await play('admin', unique('go-admin'))).toEqual({
      partitions: 3,
      retention: '60000',
      alteredRetention: '604800000',
      lag: 10,
      state: 'Empty',
      offsetDeleted: true,
      groupDeleted: true,
      records: 10,
      recordsAfterTrim: 0,
      deleted: true,
    });
  });

  test('requests of rpk and Redpanda Console are answered as by Kafka', async () => {
    expect(await play('tools', unique('go-tools'))).toEqual({
      created: [2, 1, 'zstd'],
      listed: ['Stable: Stable', 'stable: Stable'],
      offsetDelete: ['GROUP_SUBSCRIBED_TO_TOPIC', 'UNKNOWN_TOPIC_OR_PARTITION'],
      diskIsKnown: true,
      hasSize: true,
      endOfEpoch: 1,
      accessLists: ['SECURITY_DISABLED'],
    });
  });

  test("every answer, in every version, conforms to Kafka's message definitions", async () => {
    const checked = Object.values((await play('grammar', unique('go-grammar'))) as Record<string, number>);
    // Produce versions 0 to 2 are listed for librdkafka only, and not served.
    const versions = apis.reduce((sum, { minVersion, maxVersion }) => sum + maxVersion - minVersion + 1, -3);
    if (broker.embedded) expect(checked.reduce((sum, each) => sum + each, 0)).toBe(versions);
    else expect(checked.length).toBeGreaterThan(0);
  });

  test('keys, headers and every codec', async () => {
    const topic = unique('go-records');
    const everyRecord = { none: 100, gzip: 100, snappy: 100, lz4: 100, zstd: 100 };
    expect(await play('records', topic)).toEqual(everyRecord);
    for (const codec of compressions) expect(await broker.codecOf(`${topic}-${codec}`)).toBe(codec);
  });

  test('a group adds a second member cooperatively, and continues after a restart', async () => {
    const topic = unique('go-group');
    await broker.createTopic(topic, 4);
    expect(await play('group', topic)).toEqual({ readOnce: 220, sharedPartitions: 2 });
  });

  test('GroupTransactSession: an aborted copy leaves nothing behind, a committed one moves the offsets', async () => {
    expect(await play('transactions', unique('go-transactions'))).toEqual({
      abort: { committed: false, offset: 0 },
      commit: { committed: true, offset: 20 },
      copied: 20,
      first: 'commit 0',
    });
  });
});
