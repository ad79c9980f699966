import { getEventListeners } from 'node:events';
import type { PartitionMetadata } from 'kafkajs';
import { afterEach, expect, test } from 'vitest';
import { createLogger, silentLogger } from '../platform/logger.js';
import { deferred } from '../tests/contract/client.js';
import type { LogBrokers, PartitionBatch, ProducerId } from './log-brokers.js';
import { KafkaLogProducer, maxBytesPerRequest, maxRecordsPerRequest } from './log-producer.js';
import type { NewRecord } from './records.js';

type Answer = number | Error;
interface Sent {
  broker: number;
  producerId: string;
  /** Sent values by partition. */
  batches: Record<string, { values: string[]; sequence: number }>;
}

/**
 * Brokers that keep the records that they receive, with configurable answers. Partition n of a topic is led
 * by broker `leaders[n]`.
 */
class FakeBrokers implements LogBrokers {
  readonly topics = new Map<string, number[] | Error>();
  readonly sent: Sent[] = [];
  readonly #written = new Map<string, string[]>();
  #ids = 0;
  /** Answers instead of writing; an error replaces the answer. */
  answer: (broker: number, batch: PartitionBatch) => Answer | undefined | Promise<Answer | undefined> = () =>
    undefined;

  partitions(topic: string): PartitionMetadata[] | Error | undefined {
    const leaders = this.topics.get(topic);
    if (!Array.isArray(leaders)) return leaders;
    return leaders.map((leader, partitionId) => ({
      leader,
      partitionId,
      partitionErrorCode: leader < 0 ? 5 : 0,
      replicas: [],
      isr: [],
    }));
  }

  learn(): Promise<void> {
    return Promise.resolve();
  }

  learnIfOld(): void {
    // The cached metadata is current.
  }

  /** Called before a connection is made, and may reject it. */
  connecting: (broker: number) => Promise<void> = () => Promise.resolve();

  async connect(broker: number): ReturnType<LogBrokers['connect']> {
    await this.connecting(broker);
    return {
      newProducerId: () => Promise.resolve({ producerId: `id-${this.#ids++}`, producerEpoch: 0 }),
      produce: async (producer: ProducerId, batches: readonly PartitionBatch[]) => {
        const named = batches.map((batch) => [`${batch.topic}/${batch.partition}`, batch] as const);
        this.sent.push({
          broker,
          producerId: producer.producerId,
          batches: Object.fromEntries(
            named.map(([name, { messages, firstSequence }]) => [
              name,
              { values: messages.map(({ value }) => String(value).slice(0, 20)), sequence: firstSequence },
            ]),
          ),
        });
        const answers: Answer[] = [];
        for (const [name, batch] of named)
          answers.push((await this.answer(broker, batch)) ?? this.write(name, batch));
        return answers;
      },
    };
  }

  write(name: string, { messages }: PartitionBatch): number {
    const log = this.written(name);
    const offset = log.length;
    log.push(...messages.map(({ value }) => String(value).slice(0, 20)));
    return offset;
  }

  written(name: string): string[] {
    const log = this.#written.get(name) ?? [];
    this.#written.set(name, log);
    return log;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const producers: KafkaLogProducer[] = [];
afterEach(async () => {
  await Promise.all(producers.splice(0).map((producer) => producer.close({ drainMs: 0 })));
});

function open(topics: Record<string, number[] | Error>): {
  brokers: FakeBrokers;
  producer: KafkaLogProducer;
} {
  const brokers = new FakeBrokers();
  for (const [name, leaders] of Object.entries(topics)) brokers.topics.set(name, leaders);
  const producer = new KafkaLogProducer(
    brokers,
    process.env['LOG_LEVEL'] ? createLogger('debug') : silentLogger,
  );
  producers.push(producer);
  return { brokers, producer };
}

function records(topic: string, partition: number, ...values: (string | Buffer)[]): NewRecord[] {
  return values.map((value) => ({ topic, partition, key: null, value: Buffer.from(value) }));
}

/** A broker's error, as kafkajs throws it. */
function refusal(type: string, retriable = false): Error {
  return Object.assign(new Error(type), { name: 'KafkaJSProtocolError', type, retriable });
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test.each(['OUT_OF_ORDER_SEQUENCE_NUMBER', 'UNKNOWN_PRODUCER_ID', 'INVALID_PRODUCER_EPOCH'])(
  'a partition that answers %s restarts under another id, and the others keep theirs',
  async (type) => {
    const { brokers, producer } = open({ t: [1, 1] });
    await producer.send([...records('t', 0, 'a'), ...records('t', 1, 'A')]);
    let failures = 1;
    brokers.answer = (_, { partition }) => (partition === 0 && failures-- > 0 ? refusal(type) : undefined);
    const positions = await producer.send(records('t', 0, 'b', 'c'));
    expect(positions.map(({ offset }) => offset)).toEqual([1, 2]);
    await producer.send(records('t', 1, 'B'));
    expect(brokers.sent.slice(1)).toEqual([
      { broker: 1, producerId: 'id-0', batches: { 't/0': { values: ['b', 'c'], sequence: 1 } } },
      { broker: 1, producerId: 'id-1', batches: { 't/0': { values: ['b', 'c'], sequence: 0 } } },
      { broker: 1, producerId: 'id-0', batches: { 't/1': { values: ['B'], sequence: 1 } } },
    ]);
  },
);

test('a batch whose answer was lost is repeated unchanged, with its numbers, before anything else', async () => {
  const { brokers, producer } = open({ t: [1] });
  let failures = 2;
  brokers.answer = () => {
    if (failures-- > 0) throw new Error('connection lost');
    return undefined;
  };
  const abort = new AbortController();
  const first = Promise.allSettled([
    producer.send(records('t', 0, 'a', 'b')),
    producer.send(records('t', 0, 'c'), { signal: abort.signal }),
  ]);
  await until(() => brokers.sent.length === 1);
  const second = producer.send(records('t', 0, 'd'));
  // It may be written already: it stays in the batch, or the broker would not recognise the batch.
  abort.abort();
  expect(await first).toMatchObject([{ status: 'fulfilled' }, { reason: { code: 'LOG_TIMEOUT' } }]);
  await second;
  const repeated = { values: ['a', 'b', 'c'], sequence: 0 };
  expect(brokers.sent.map(({ batches }) => batches['t/0'])).toEqual([
    repeated,
    repeated,
    repeated,
    { values: ['d'], sequence: 3 },
  ]);
});

test('records that were certainly not written are left out once their caller has given up', async () => {
  const { brokers, producer } = open({ t: [1] });
  let isRefusing = true;
  brokers.answer = () => (isRefusing ? refusal('NOT_ENOUGH_REPLICAS', true) : undefined);
  const impatient = producer.sendEach(records('t', 0, 'a', 'b'), { timeoutMs: 30 });
  const patient = producer.send(records('t', 0, 'c'));
  expect(await impatient).toMatchObject([{ code: 'LOG_TIMEOUT' }, { code: 'LOG_TIMEOUT' }]);
  isRefusing = false;
  await patient;
  expect(brokers.written('t/0')).toEqual(['c']);
});

test.each([
  ['is deleted', refusal('UNKNOWN_TOPIC_OR_PARTITION', true)],
  ['has too few replicas', refusal('NOT_ENOUGH_REPLICAS', true)],
  ['fails in a way that nobody knows', refusal('KAFKAJS_UNKNOWN_ERROR_CODE')],
])(
  'a partition that %s blocks no other, of its topic or another, on its broker or another',
  async (_, error) => {
    const { brokers, producer } = open({ t: [1, 1, 2], other: [1] });
    brokers.answer = (__, { topic, partition }) => (topic === 't' && partition === 0 ? error : undefined);
    const stuck = producer.sendEach(records('t', 0, 'stuck'), { timeoutMs: 400 });
    for (const round of ['1', '2', '3'])
      await producer.send([
        ...records('t', 1, round),
        ...records('t', 2, round),
        ...records('other', 0, round),
      ]);
    expect(await stuck).toMatchObject([{ code: 'LOG_TIMEOUT', retriable: true }]);
    for (const name of ['t/1', 't/2', 'other/0']) expect(brokers.written(name)).toEqual(['1', '2', '3']);
  },
);

test('a partition without a leader, and a missing topic, block no other', async () => {
  const { brokers, producer } = open({ t: [-1, 1], gone: refusal('UNKNOWN_TOPIC_OR_PARTITION', true) });
  const stuck = producer.sendEach([...records('t', 0, 'a'), ...records('gone', 0, 'b')]);
  await producer.send(records('t', 1, 'A'));
  expect(brokers.written('t/1')).toEqual(['A']);
  brokers.topics.set('t', [2, 1]);
  brokers.topics.set('gone', [1]);
  expect(await stuck).toMatchObject([{ offset: 0 }, { offset: 0 }]);
});

test('when one of two brokers fails, records written by the other are not sent again', async () => {
  const { brokers, producer } = open({ t: [1, 2] });
  let failures = 3;
  brokers.answer = (broker) => {
    if (broker === 2 && failures-- > 0) throw new Error('connection lost');
    return undefined;
  };
  await producer.send([...records('t', 0, 'a'), ...records('t', 1, 'b')]);
  expect(brokers.written('t/0')).toEqual(['a']);
  expect(brokers.written('t/1')).toEqual(['b']);
  expect(brokers.sent.filter(({ broker }) => broker === 1)).toHaveLength(1);
});

test('a hanging broker blocks only its own partitions', async () => {
  const { brokers, producer } = open({ t: [1, 2] });
  let answer: () => void = () => undefined;
  const silent = new Promise<undefined>((resolve) => {
    answer = () => resolve(undefined);
  });
  brokers.answer = (broker) => (broker === 2 ? silent : undefined);
  const held = producer.send(records('t', 1, 'b'));
  await until(() => brokers.sent.length === 1);
  await producer.send(records('t', 0, 'a'));
  answer();
  await held;
});

test('one refused record is found, and the others of its batch are written', async () => {
  const { brokers, producer } = open({ t: [1] });
  brokers.answer = (_, { messages }) =>
    messages.some(({ value }) => String(value) === 'bad') ? refusal('INVALID_RECORD') : undefined;
  const values = Array.from({ length: 100 }, (_, index) => (index === 57 ? 'bad' : String(index)));
  const outcomes = await producer.sendEach(records('t', 0, ...values));
  expect(outcomes[57]).toMatchObject({ code: 'LOG_REFUSED', retriable: false });
  expect(brokers.written('t/0')).toEqual(values.filter((value) => value !== 'bad'));
  expect(brokers.sent.length).toBeLessThan(20);
});

test.each([
  ['POLICY_VIOLATION', 'LOG_REFUSED'],
  ['TOPIC_AUTHORIZATION_FAILED', 'LOG_UNAUTHORIZED'],
  ['INVALID_TOPIC_EXCEPTION', 'LOG_REFUSED'],
])('%s applies to the topic: its records are refused together, and no others', async (type, code) => {
  const { brokers, producer } = open({ t: [1], other: [1] });
  brokers.answer = (_, { topic }) => (topic === 't' ? refusal(type) : undefined);
  const values = Array.from({ length: 1_000 }, (_, index) => String(index));
  const refused = producer.sendEach(records('t', 0, ...values));
  await producer.send(records('other', 0, 'a'));
  const outcomes = await refused;
  expect(outcomes.every((outcome) => 'code' in outcome && outcome.code === code)).toBe(true);
  expect(brokers.sent.length).toBeLessThanOrEqual(3);
});

test('a refusal of records that may be written already is reported as such, and the next batch starts a new sequence', async () => {
  const { brokers, producer } = open({ t: [1] });
  const answers = [new Error('connection lost'), refusal('MESSAGE_TOO_LARGE')];
  brokers.answer = (_, batch) => {
    const [next] = answers.splice(0, 1);
    if (next?.message !== 'connection lost') return next;
    brokers.write('t/0', batch);
    throw next;
  };
  await expect(producer.send(records('t', 0, 'a', 'b'))).rejects.toMatchObject({ code: 'LOG_TIMEOUT' });
  await producer.send(records('t', 0, 'c'));
  expect(brokers.written('t/0')).toEqual(['a', 'b', 'c']);
  expect(brokers.sent.at(-1)).toMatchObject({ producerId: 'id-1', batches: { 't/0': { sequence: 0 } } });
});

test('requests are limited in records and in bytes, whatever the number of partitions', async () => {
  const { brokers, producer } = open({ t: [1, 1] });
  const values = Array.from({ length: 1_250 }, (_, index) => String(index));
  await producer.send([...records('t', 0, ...values), ...records('t', 1, ...values)]);
  const counts = brokers.sent.map(({ batches }) =>
    Object.values(batches).reduce((sum, { values: sent }) => sum + sent.length, 0),
  );
  expect(counts.every((count) => count <= maxRecordsPerRequest)).toBe(true);
  expect(counts.length).toBeLessThanOrEqual(4);
  brokers.sent.length = 0;
  const half = Buffer.alloc(maxBytesPerRequest / 2);
  await producer.send(records('t', 0, half, half, half));
  expect(brokers.sent).toHaveLength(3);
});

test('a call with an aborted signal writes nothing and leaves nothing behind', async () => {
  const { brokers, producer } = open({ t: [1] });
  const abort = new AbortController();
  abort.abort();
  const { signal } = abort;
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  await expect(producer.send(records('t', 0, 'a'), { signal, timeoutMs: 60_000 })).rejects.toMatchObject({
    code: 'LOG_TIMEOUT',
  });
  expect([getEventListeners(signal, 'abort').length, timers()]).toEqual([0, before]);
  await producer.send(records('t', 0, 'b'));
  expect(brokers.written('t/0')).toEqual(['b']);
});

test('a full lane accepts nothing more, and another does', async () => {
  const { brokers, producer } = open({ t: [1, 1] });
  brokers.answer = (_, { partition }) => (partition === 0 ? refusal('NOT_ENOUGH_REPLICAS', true) : undefined);
  const abort = new AbortController();
  const many = Array.from({ length: 60_000 }, () => 'x');
  const stuck = producer.sendEach(records('t', 0, ...many), { signal: abort.signal });
  await expect(producer.send(records('t', 0, ...many))).rejects.toMatchObject({
    code: 'LOG_BUSY',
    retriable: true,
  });
  await producer.send(records('t', 1, 'a'));
  abort.abort();
  await stuck;
  // The others are abandoned: there is room.
  brokers.answer = () => undefined;
  await producer.send(records('t', 0, ...many));
  expect(brokers.written('t/0')).toHaveLength(60_000);
});

test('no records, no request', async () => {
  const { brokers, producer } = open({ t: [1] });
  expect(await producer.send([])).toEqual([]);
  expect(brokers.sent).toEqual([]);
});

test('a connection that fails late disturbs no partition that another broker leads by then', async () => {
  const { brokers, producer } = open({ t: [1, 1] });
  const [failed, answered] = [deferred(), deferred()];
  let [connected, taken] = [0, 0];
  brokers.connecting = async (broker) => {
    if (broker !== 1) return;
    connected++;
    await failed.promise;
    throw refusal('ECONNREFUSED', true);
  };
  brokers.answer = async (broker) => {
    taken++;
    if (broker === 2) await answered.promise;
    return undefined;
  };
  const other = producer.send(records('t', 1, 'x'));
  const first = producer.send(records('t', 0, 'a'));
  await until(() => connected === 1);
  brokers.topics.set('t', [2, 1]);
  const second = producer.send(records('t', 0, 'b'));
  await until(() => taken === 1);
  brokers.topics.set('t', [3, 1]);
  const third = producer.send(records('t', 0, 'c', 'd'));
  failed.resolve();
  // The pause of the other partition is over, twice. A batch behind the one in flight would have its number.
  await until(() => connected === 4);
  expect(taken).toBe(1);
  answered.resolve();
  brokers.connecting = () => Promise.resolve();
  await Promise.all([first, second, third, other]);
  const sent = brokers.sent.flatMap(({ batches }) => batches['t/0'] ?? []);
  expect(sent).toEqual([
    { values: ['a', 'b'], sequence: 0 },
    { values: ['c', 'd'], sequence: 2 },
  ]);
});
