import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { BrokerFixture, compressions, unique } from './broker.js';
import { apacheKafka, describeClient } from './installed.js';
import { lines, Program, run } from './program.js';
import type { Output } from './program.js';

/** The programs behind the scripts in Apache Kafka's `bin` folder. */
const tools = {
  'kafka-topics': 'org.apache.kafka.tools.TopicCommand',
  'kafka-console-producer': 'org.apache.kafka.tools.ConsoleProducer',
  'kafka-console-consumer': 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'kafka-consumer-groups': 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
  'kafka-configs': 'kafka.admin.ConfigCommand',
  'kafka-get-offsets': 'org.apache.kafka.tools.GetOffsetShell',
  'kafka-delete-records': 'org.apache.kafka.tools.DeleteRecordsCommand',
  'kafka-verifiable-producer': 'org.apache.kafka.tools.VerifiableProducer',
  'kafka-verifiable-consumer': 'org.apache.kafka.tools.VerifiableConsumer',
  'kafka-producer-perf-test': 'org.apache.kafka.tools.ProducerPerformance',
  'kafka-broker-api-versions': 'org.apache.kafka.tools.BrokerApiVersionsCommand',
};

describeClient(apacheKafka(), (java) => {
  const broker = new BrokerFixture();

  const tool = (name: keyof typeof tools, args: string[], input = ''): Promise<Output> =>
    run(java, [tools[name], '--bootstrap-server', broker.address, ...args], input);

  const read = async (topic: string, count: number, ...args: string[]): Promise<string[]> => {
    const limits = ['--from-beginning', '--max-messages', String(count), '--timeout-ms', '20000'];
    const { stdout } = await tool('kafka-console-consumer', ['--topic', topic, ...limits, ...args]);
    return lines(stdout);
  };

  const groups = async (...args: string[]): Promise<string[]> =>
    rows(await tool('kafka-consumer-groups', args));

  test('kafka-topics: create, describe, grow, list, delete', async () => {
    const topic = unique('java-topics');
    const topics = async (...args: string[]): Promise<string[]> => rows(await tool('kafka-topics', args));
    expect(
      await topics('--create', '--topic', topic, '--partitions', '2', '--config', 'retention.ms=60000'),
    ).toEqual([`Created topic ${topic}.`]);
    expect((await topics('--describe', '--topic', topic))[0]).toMatch(
      /PartitionCount: 2 ReplicationFactor: 1 Configs: .*retention\.ms=60000/,
    );
    await topics('--alter', '--topic', topic, '--partitions', '3');
    const described = await topics('--describe', '--topic', topic);
    expect(described.slice(1).map((row) => row.replace(/ Elr:.*/, ''))).toEqual(
      [0, 1, 2].map((partition) => `Topic: ${topic} Partition: ${partition} Leader: 1 Replicas: 1 Isr: 1`),
    );
    expect(await topics('--list')).toContain(topic);
    // Neither partitions nor replicas given: −1 on the wire.
    const plain = unique('java-defaults');
    await topics('--create', '--topic', plain);
    expect((await topics('--describe', '--topic', plain))[0]).toContain(
      'PartitionCount: 1 ReplicationFactor: 1',
    );
    await expect(topics('--create', '--topic', plain)).rejects.toThrow(/already exists/);
    await topics('--delete', '--topic', topic);
    expect(await topics('--list')).not.toContain(topic);
  });

  test.each(compressions)('kafka-console-producer and -consumer: %s, keys and headers', async (codec) => {
    const topic = unique(`java-${codec}`);
    const text = 'compressible '.repeat(100);
    const properties = ['parse.key=true', 'key.separator=:', 'parse.headers=true'];
    await tool(
      'kafka-console-producer',
      [
        '--topic',
        topic,
        '--compression-codec',
        codec,
        ...properties.flatMap((property) => ['--reader-property', property]),
      ],
      `one:1,two:2\tkey:${text}\none:1\tother:short\n`,
    );
    const printed = await read(
      topic,
      2,
      ...['print.key=true', 'print.headers=true'].flatMap((property) => ['--formatter-property', property]),
    );
    expect(printed).toEqual([`one:1,two:2\tkey\t${text}`, 'one:1\tother\tshort']);
    expect(await broker.codecOf(topic)).toBe(codec);
  });

  test('kafka-consumer-groups: list, describe, reset, delete offsets, delete', async () => {
    const topic = unique('java-groups');
    const group = `${topic}-group`;
    await tool('kafka-console-producer', ['--topic', topic], 'a\nb\nc\n');
    expect(await read(topic, 2, '--group', group)).toEqual(['a', 'b']);

    expect(await groups('--list')).toContain(group);
    const lag = async (): Promise<string[]> => {
      const described = await groups('--describe', '--group', group);
      return described.filter((row) => row.startsWith(`${group} ${topic}`));
    };
    expect(await lag()).toEqual([`${group} ${topic} 0 2 3 1 - - -`]);
    expect((await groups('--describe', '--group', group, '--state')).at(-1)).toMatch(/ Empty 0$/);

    const reset = ['--reset-offsets', '--group', group, '--topic', topic, '--execute'];
    expect(await groups(...reset, '--to-earliest')).toContain(`${group} ${topic} 0 0`);
    expect(await lag()).toEqual([`${group} ${topic} 0 0 3 3 - - -`]);
    expect(await groups(...reset, '--to-datetime', '2000-01-01T00:00:00.000')).toContain(
      `${group} ${topic} 0 0`,
    );
    expect(await groups(...reset, '--to-latest')).toContain(`${group} ${topic} 0 3`);
    expect(await groups(...reset, '--shift-by', '-1')).toContain(`${group} ${topic} 0 2`);
    expect(await read(topic, 1, '--group', group)).toEqual(['c']);

    expect(await groups('--delete-offsets', '--group', group, '--topic', topic)).toContain(
      `${topic} 0 Successful`,
    );
    expect(await read(topic, 3, '--group', group)).toEqual(['a', 'b', 'c']);
    await groups('--delete', '--group', group);
    expect(await groups('--list')).not.toContain(group);
    await expect(groups('--delete', '--group', group)).resolves.toSatisfy((output: string[]) =>
      output.some((row) => row.includes('GroupIdNotFoundException')),
    );
  });

  test('kafka-consumer-groups: a group with members', async () => {
    const topic = unique('java-members');
    const group = `${topic}-group`;
    await tool('kafka-console-producer', ['--topic', topic], 'a\n');
    const consumer = new Program(java, [
      tools['kafka-console-consumer'],
      '--bootstrap-server',
      broker.address,
      '--topic',
      topic,
      '--group',
      group,
      '--from-beginning',
    ]);
    try {
      await consumer.until(({ stdout }) => lines(stdout).includes('a'));
      expect((await groups('--describe', '--group', group, '--state')).at(-1)).toMatch(/ range Stable 1$/);
      expect((await groups('--describe', '--group', group, '--members', '--verbose')).at(-1)).toMatch(
        new RegExp(`^${group} console-consumer-\\S+ /127\\.0\\.0\\.1 console-consumer 1 .*${topic}:0`),
      );
      expect((await groups('--describe', '--group', group)).at(-1)).toMatch(
        new RegExp(
          `^${group} ${topic} 0 (-|\\d) 1 .* console-consumer-\\S+ /127\\.0\\.0\\.1 console-consumer$`,
        ),
      );
      expect((await groups('--delete', '--group', group)).join()).toContain('GroupNotEmptyException');
      const reset = ['--reset-offsets', '--group', group, '--topic', topic, '--to-earliest', '--execute'];
      expect((await groups(...reset)).join()).toMatch(/inactive, but the current state is Stable/);
    } finally {
      await consumer.stop();
    }
    // It committed, and left the group, when it was asked to stop.
    expect((await groups('--describe', '--group', group)).at(-1)).toBe(`${group} ${topic} 0 1 1 0 - - -`);
  });

  test('kafka-configs: describe and alter topics, describe the broker', async () => {
    const topic = unique('java-configs');
    await broker.createTopic(topic, 1);
    const entity = ['--entity-type', 'topics', '--entity-name', topic];
    const configs = async (...args: string[]): Promise<string[]> => {
      const described = await tool('kafka-configs', [...entity, ...args]);
      return rows(described)
        .filter((row) => row.includes('='))
        .map((row) => row.replace(/ sensitive=.*/, ''));
    };
    await configs('--alter', '--add-config', 'retention.ms=3600000,cleanup.policy=[compact,delete]');
    expect(await configs('--describe')).toEqual(
      expect.arrayContaining(['cleanup.policy=compact,delete', 'retention.ms=3600000']),
    );
    await configs('--alter', '--delete-config', 'retention.ms');
    expect(await configs('--describe', '--all')).toEqual(
      expect.arrayContaining(['cleanup.policy=compact,delete', 'retention.ms=604800000']),
    );
    await expect(configs('--alter', '--add-config', 'retention.ms=soon')).rejects.toThrow(
      /InvalidConfig|Invalid value/,
    );
    const brokers = await tool('kafka-configs', ['--entity-type', 'brokers', '--describe']);
    expect(rows(brokers)).toEqual(
      expect.arrayContaining([expect.stringContaining('Dynamic configs for broker 1')]),
    );
  });

  test('kafka-get-offsets and kafka-delete-records', async () => {
    const topic = unique('java-offsets');
    await tool('kafka-console-producer', ['--topic', topic], 'a\nb\nc\n');
    const offsets = async (time: string): Promise<string[]> =>
      rows(await tool('kafka-get-offsets', ['--topic', topic, '--time', time]));
    expect(await offsets('latest')).toEqual([`${topic}:0:3`]);

    const folder = await mkdtemp(join(tmpdir(), 'millrace-clients-'));
    try {
      const request = join(folder, 'delete.json');
      await writeFile(
        request,
        JSON.stringify({ version: 1, partitions: [{ topic, partition: 0, offset: 2 }] }),
      );
      const deleted = await tool('kafka-delete-records', ['--offset-json-file', request]);
      expect(rows(deleted)).toContain(`partition: ${topic}-0 low_watermark: 2`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    expect(await offsets('earliest')).toEqual([`${topic}:0:2`]);
    expect(await read(topic, 1)).toEqual(['c']);
  });

  test('kafka-verifiable-producer, -consumer and kafka-producer-perf-test', async () => {
    const topic = unique('java-verifiable');
    await broker.createTopic(topic, 3);
    const sent = await tool('kafka-verifiable-producer', [
      '--topic',
      topic,
      '--max-messages',
      '1000',
      '--acks',
      '-1',
    ]);
    expect(events(sent).at(-1)).toMatchObject({ name: 'tool_data', sent: 1000, acked: 1000 });
    const consumed = await tool('kafka-verifiable-consumer', [
      '--topic',
      topic,
      '--group-id',
      `${topic}-group`,
      '--max-messages',
      '1000',
      '--reset-policy',
      'earliest',
    ]);
    const named = (name: string): Record<string, unknown>[] =>
      events(consumed).filter((event) => event['name'] === name);
    const counts = named('records_consumed').map(({ count }) => Number(count));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1000);
    expect(named('offsets_committed').every(({ success }) => success === true)).toBe(true);
    expect(named('offsets_committed').length).toBeGreaterThan(0);

    const load = ['--topic', topic, '--num-records', '20000', '--record-size', '100', '--throughput', '-1'];
    const { stdout } = await tool('kafka-producer-perf-test', load);
    expect(lines(stdout).at(-1)).toMatch(/^20000 records sent, .* records\/sec/);
    const ends = rows(await tool('kafka-get-offsets', ['--topic', topic]));
    expect(ends.map((row) => Number(row.split(':')[2])).reduce((sum, end) => sum + end, 0)).toBe(21_000);
  });

  test('kafka-broker-api-versions: every API of this client is served in one of its versions, or left out on purpose', async () => {
    const versions = rows(await tool('kafka-broker-api-versions', []));
    expect(versions.find((row) => row.startsWith('Produce(0)'))).toMatch(/usable: \d+/);
    expect(versions.filter((row) => row.includes('to ') && !row.includes('usable'))).toEqual([]);
    const missing = versions.filter((row) => row.includes('UNSUPPORTED'));
    const readme = readFileSync(join(packageRoot, 'embedded', 'README.md'), 'utf8');
    const named = keysIn(
      readme.slice(readme.indexOf('## What it does not support'), readme.indexOf('Differences from Apache')),
    );
    expect(missing.filter((row) => !named.has(Number(/\((\d+)\)/.exec(row)?.[1])))).toEqual([]);
  });
});

/** Returns a tool's table output, with single blanks between the columns. */
function rows({ stdout }: Output): string[] {
  return lines(stdout).map((line) => line.replaceAll(/\s+/g, ' ').trim());
}

function events({ stdout }: Output): Record<string, unknown>[] {
  return lines(stdout).map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** API keys in parentheses: `(23)`, `(68, 69)`, `(29–31, 34)`. */
function keysIn(text: string): Set<number> {
  const keys = new Set<number>();
  for (const [, list = ''] of text.matchAll(/\(([\d–,\s]+)/g)) {
    for (const range of list.split(',')) {
      const [first = NaN, last = first] = range.split('–').map(Number);
      for (let key = first; key <= last; key++) keys.add(key);
    }
  }
  return keys;
}
