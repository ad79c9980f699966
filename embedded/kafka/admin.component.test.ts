import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KafkaBroker } from './broker.js';
import type { Writer } from './protocol/writer.js';
import { textBatch, WireClient } from './testing/wire-client.js';

// Requests of tools, in their versions; tests/clients compares the answers with Kafka's definitions.

let dataDir: string;
let broker: KafkaBroker;
let client: WireClient;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-admin-'));
  broker = new KafkaBroker({ dataDir, port: 0 });
  client = await WireClient.connect((await broker.start()).port);
  await client.createTopic('t', 2);
});

afterAll(async () => {
  client.close();
  await broker.stop();
  await rm(dataDir, { recursive: true, force: true });
});

test('groups are listed with their states, and by state', async () => {
  await commit('committed');
  await join3('joined');
  expect(await listGroups([])).toEqual(['committed Empty', 'joined CompletingRebalance']);
  expect(await listGroups(['EMPTY'])).toEqual(['committed Empty']);
  expect(await listGroups(['Stable', 'CompletingRebalance'])).toEqual(['joined CompletingRebalance']);
  expect(await listGroups(['Dead'])).toEqual([]);
});

test('offsets of several groups are answered at once', async () => {
  await commit('one');
  const reader = await client.call(9, 8, (writer) => {
    writer.structs(['one', 'none'], (group) => {
      writer.string(group);
      writer.nullableStructs(null, () => undefined);
    });
    writer.boolean(false);
  });
  reader.int32();
  const groups = reader.structs(() => ({
    group: reader.string(),
    topics: reader.structs(() => ({
      topic: reader.string(),
      offsets: reader.structs(() => {
        const [partition, offset] = [reader.int32(), reader.int64()];
        reader.int32();
        reader.nullableString();
        return { partition, offset, errorCode: reader.int16() };
      }),
    })),
    errorCode: reader.int16(),
  }));
  expect(groups).toEqual([
    {
      group: 'one',
      topics: [{ topic: 't', offsets: [{ partition: 0, offset: 1, errorCode: 0 }] }],
      errorCode: 0,
    },
    { group: 'none', topics: [], errorCode: 0 },
  ]);
});

test('offsets are deleted except for missing partitions, and topics that a member reads', async () => {
  await client.createTopic('other');
  await commit('idle');
  expect(await offsetDelete('idle', 't', [0, 2])).toEqual({ errorCode: 0, partitions: [0, 3] });
  await join3('busy');
  expect(await offsetDelete('busy', 't', [0, 2])).toEqual({ errorCode: 0, partitions: [86, 3] });
  expect(await offsetDelete('busy', 'other', [0])).toEqual({ errorCode: 0, partitions: [0] });
  await join3('workers', 'connect');
  expect(await offsetDelete('workers', 'other', [0])).toEqual({ errorCode: 68, partitions: [] });
  expect(await offsetDelete('nobody', 't', [0])).toEqual({ errorCode: 69, partitions: [] });
});

test('a created topic is answered with its settings, a refused one without', async () => {
  const settings = { 'compression.type': 'zstd', 'flush.ms': '9223372036854775807' };
  expect(await createTopic('made', -1, settings)).toMatchObject({
    errorCode: 0,
    partitions: 1,
    replicas: 1,
    configs: expect.objectContaining({ ...settings, 'retention.ms': '604800000' }),
  });
  expect(await createTopic('made', -1, {})).toMatchObject({ errorCode: 36, partitions: -1, configs: {} });
  expect(await createTopic('odd', 1, { 'no.such.setting': '1' })).toMatchObject({ errorCode: 40 });
});

test('log folders are described with the bytes in them', async () => {
  await client.createTopic('sized', 2);
  await client.produce('sized', 1, textBatch(['some', 'records']));
  const { size } = await stat(join(dataDir, 'topics', 'sized-1', '00000000000000000000.log'));
  expect(await logDirs([{ name: 'sized', partitions: [0, 1, 7] }])).toEqual({
    'sized-0': 0,
    'sized-1': size,
  });
  expect(await logDirs(null)).toMatchObject({ 'sized-1': size, 't-0': 0 });
  expect(await logDirs([])).toEqual({});
});

test('the only leader epoch ends at the end of the log; a later one is unknown', async () => {
  await client.createTopic('epochs');
  await client.produce('epochs', 0, textBatch(['a', 'b', 'c']));
  expect(await epochEnd('epochs', 0, -1, 0)).toEqual([0, 0, 3]);
  expect(await epochEnd('epochs', 0, 0, 0)).toEqual([0, 0, 3]);
  expect(await epochEnd('epochs', 0, -1, 1)).toEqual([0, -1, -1]);
  expect(await epochEnd('epochs', 0, 1, 0)).toEqual([75, -1, -1]);
  expect(await epochEnd('missing', 0, -1, 0)).toEqual([3, -1, -1]);
});

test('requests for access lists get an error that there are none', async () => {
  for (const version of [0, 1, 2, 3]) {
    const reader = await client.call(29, version, (writer) => {
      writer.int8(1);
      writer.nullableString(null);
      if (version >= 1) writer.int8(1);
      writer.nullableString(null);
      writer.nullableString(null);
      writer.int8(1);
      writer.int8(1);
    });
    reader.int32();
    expect(reader.int16()).toBe(54);
  }
});

test('an older producer gets the fencing error of its version', async () => {
  const old = await client.initProducer('fenced');
  await client.initProducer('fenced');
  const end = async (version: number): Promise<number> => {
    const reader = await client.call(26, version, (writer) => {
      writer.string('fenced');
      writer.int64(old.producerId);
      writer.int16(old.epoch);
      writer.boolean(true);
    });
    reader.int32();
    return reader.int16();
  };
  expect([await end(0), await end(1), await end(2), await end(3)]).toEqual([47, 47, 90, 90]);
});

test('settings of the broker have types', async () => {
  const reader = await client.call(32, 4, (writer) => {
    writer.structs([4], (type) => {
      writer.int8(type);
      writer.string('1');
      writer.nullableArray(null, () => undefined);
    });
    writer.boolean(false);
    writer.boolean(false);
  });
  reader.int32();
  const [configs] = reader.structs(() => {
    reader.int16();
    reader.nullableString();
    reader.int8();
    reader.string();
    return reader.structs(() => {
      const name = reader.string();
      reader.nullableString();
      reader.boolean();
      reader.int8();
      reader.boolean();
      reader.structs(() => undefined);
      const type = reader.int8();
      reader.nullableString();
      return [name, type];
    });
  });
  const [boolean, int] = [1, 3];
  expect(Object.fromEntries(configs ?? [])).toEqual({
    'broker.id': int,
    'auto.create.topics.enable': boolean,
    'num.partitions': int,
    'default.replication.factor': int,
  });
});

test('a topic named by an id is unknown: there are no ids', async () => {
  const reader = await client.call(20, 6, (writer) => {
    writer.structs(['ab'.repeat(16)], (id) => {
      writer.nullableString(null);
      writer.uuid(id);
    });
    writer.int32(1000);
  });
  reader.int32();
  const answers = reader.structs(() => [
    reader.nullableString(),
    reader.uuid(),
    reader.int16(),
    reader.nullableString(),
  ]);
  expect(answers).toEqual([[null, 'ab'.repeat(16), 100, expect.stringContaining('by their names')]]);
});

async function commit(group: string): Promise<void> {
  await client.call(8, 8, (writer) => {
    writer.string(group);
    writer.int32(-1);
    writer.string('');
    writer.nullableString(null);
    writer.structs(['t'], (topic) => {
      writer.string(topic);
      writer.structs([0], (partition) => {
        writer.int32(partition);
        writer.int64(1);
        writer.int32(-1);
        writer.nullableString(null);
      });
    });
  });
}

/** Version 3: the member needs no id beforehand. It is subscribed to `t`. */
async function join3(group: string, protocolType = 'consumer'): Promise<void> {
  const reader = await client.call(11, 3, (writer) => {
    writer.string(group);
    writer.int32(10_000);
    writer.int32(10_000);
    writer.string('');
    writer.string(protocolType);
    writer.array(['range'], (protocol) => {
      writer.string(protocol);
      writer.byteString(Buffer.from('0000000000010001740000ffffffff', 'hex'));
    });
  });
  reader.int32();
  expect(reader.int16()).toBe(0);
}

async function listGroups(states: string[]): Promise<string[]> {
  const reader = await client.call(16, 4, (writer) => writer.array(states, (state) => writer.string(state)));
  reader.int32();
  expect(reader.int16()).toBe(0);
  return reader
    .structs(() => {
      const group = reader.string();
      reader.string();
      return `${group} ${reader.string()}`;
    })
    .toSorted();
}

async function offsetDelete(
  group: string,
  topic: string,
  partitions: number[],
): Promise<{ errorCode: number; partitions: number[] }> {
  const reader = await client.call(47, 0, (writer) => {
    writer.string(group);
    writer.structs([topic], (name) => {
      writer.string(name);
      writer.structs(partitions, (partition) => writer.int32(partition));
    });
  });
  const errorCode = reader.int16();
  reader.int32();
  const answers = reader.structs(() => {
    reader.string();
    return reader.structs(() => [reader.int32(), reader.int16()][1] ?? -1);
  });
  return { errorCode, partitions: answers.flat() };
}

async function createTopic(
  name: string,
  partitions: number,
  settings: Record<string, string>,
): Promise<{ errorCode: number; partitions: number; replicas: number; configs: Record<string, string> }> {
  const reader = await client.call(19, 7, (writer) => {
    writer.structs([name], () => {
      writer.string(name);
      writer.int32(partitions);
      writer.int16(-1);
      writer.structs([], () => undefined);
      writer.structs(Object.entries(settings), ([key, value]) => {
        writer.string(key);
        writer.nullableString(value);
      });
    });
    writer.int32(10_000);
    writer.boolean(false);
  });
  reader.int32();
  const [made] = reader.structs(() => {
    reader.string();
    reader.uuid();
    const errorCode = reader.int16();
    reader.nullableString();
    const counts = { partitions: reader.int32(), replicas: reader.int16() };
    const configs = reader.structs(() => {
      const pair = [reader.string(), reader.nullableString() ?? ''] as const;
      reader.boolean();
      reader.int8();
      reader.boolean();
      return pair;
    });
    return { errorCode, ...counts, configs: Object.fromEntries(configs) };
  });
  if (made === undefined) throw new Error('The answer has no topic.');
  return made;
}

async function logDirs(
  topics: { name: string; partitions: number[] }[] | null,
): Promise<Record<string, number>> {
  const reader = await client.call(35, 4, (writer: Writer) =>
    writer.nullableStructs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.array(partitions, (partition) => writer.int32(partition));
    }),
  );
  reader.int32();
  expect(reader.int16()).toBe(0);
  const [sizes] = reader.structs(() => {
    expect(reader.int16()).toBe(0);
    expect(reader.string()).toBe(dataDir);
    const described = reader.structs(() => {
      const topic = reader.string();
      return reader.structs(() => {
        const pair = [`${topic}-${reader.int32()}`, reader.int64()] as const;
        reader.int64();
        reader.boolean();
        return pair;
      });
    });
    const [total, usable] = [reader.int64(), reader.int64()];
    expect(usable).toBeGreaterThan(0);
    expect(total).toBeGreaterThan(usable);
    return described.flat();
  });
  return Object.fromEntries(sizes ?? []);
}

async function epochEnd(
  topic: string,
  partition: number,
  currentEpoch: number,
  epoch: number,
): Promise<number[] | undefined> {
  const reader = await client.call(23, 4, (writer) => {
    writer.int32(-1);
    writer.structs([topic], () => {
      writer.string(topic);
      writer.structs([partition], () => {
        writer.int32(partition);
        writer.int32(currentEpoch);
        writer.int32(epoch);
      });
    });
  });
  reader.int32();
  const [ends] = reader.structs(() => {
    reader.string();
    return reader.structs(() => {
      const errorCode = reader.int16();
      reader.int32();
      return [errorCode, reader.int32(), reader.int64()];
    });
  });
  return ends?.[0];
}
