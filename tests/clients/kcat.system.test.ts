import { expect, test } from 'vitest';
import { BrokerFixture, compressions, unique } from './broker.js';
import { describeClient, kcat } from './installed.js';
import { lines, Program, run } from './program.js';

interface Message {
  partition: number;
  offset: number;
  ts: number;
  headers?: string[];
  key: string | null;
  payload: string;
}

describeClient(kcat(), (program) => {
  const broker = new BrokerFixture();
  const at = (...args: string[]): string[] => ['-q', '-b', broker.address, ...args];

  const produce = (topic: string, input: string, ...args: string[]): Promise<unknown> =>
    run(program, at('-P', '-t', topic, ...args), input);

  const consume = async (topic: string, ...args: string[]): Promise<Message[]> => {
    const { stdout } = await run(program, at('-C', '-e', '-J', '-t', topic, ...args));
    return lines(stdout).map((line) => JSON.parse(line) as Message);
  };

  test('lists brokers and topics', async () => {
    const topic = unique('kcat-list');
    await produce(topic, 'a\n');
    const { stdout } = await run(program, at('-L', '-J', '-t', topic));
    expect(JSON.parse(stdout)).toMatchObject({
      brokers: [{ id: 1, name: broker.address }],
      topics: [
        { topic, partitions: [{ partition: 0, leader: 1, replicas: [{ id: 1 }], isrs: [{ id: 1 }] }] },
      ],
    });
  });

  test('produces and consumes keys, headers and order', async () => {
    const topic = unique('kcat-records');
    const input = Array.from({ length: 500 }, (_, index) => `key-${index}:value-${index}\n`).join('');
    await produce(topic, input, '-K:', '-H', 'one=1', '-H', 'two=zwölf');
    const messages = await consume(topic);
    expect(messages.map(({ key, payload }) => `${key}:${payload}\n`).join('')).toBe(input);
    expect(messages.map(({ offset }) => offset)).toEqual(messages.map((_, index) => index));
    expect(messages[7]?.headers).toEqual(['one', '1', 'two', 'zwölf']);
  });

  test('produces idempotently', async () => {
    const topic = unique('kcat-idempotent');
    await produce(topic, 'a\nb\n', '-X', 'enable.idempotence=true');
    expect((await consume(topic)).map(({ payload }) => payload)).toEqual(['a', 'b']);
  });

  test.each(compressions)('%s is unchanged', async (codec) => {
    const topic = unique(`kcat-${codec}`);
    const text = 'compressible '.repeat(100);
    await produce(topic, `${text}1\n${text}2\n`, '-z', codec);
    expect((await consume(topic)).map(({ payload }) => payload)).toEqual([`${text}1`, `${text}2`]);
    expect(await broker.codecOf(topic)).toBe(codec);
  });

  test('balances a group, and takes over from a member that leaves', async () => {
    const topic = unique('kcat-group');
    const fill = (text: string): Promise<unknown[]> =>
      Promise.all(
        [0, 1].map((partition) => produce(topic, `${text}-${partition}\n`, '-p', String(partition))),
      );
    await broker.createTopic(topic, 2);
    const join = (): Program =>
      new Program(program, [
        '-b',
        broker.address,
        '-G',
        `${topic}-group`,
        '-u',
        '-X',
        'auto.offset.reset=earliest',
        topic,
      ]);
    const first = join();
    const second = join();
    try {
      await Promise.all([first, second].map((member) => member.until(() => assigned(member).length === 1)));
      expect([...assigned(first), ...assigned(second)].toSorted()).toEqual(['0', '1']);

      await fill('shared');
      await Promise.all(
        [first, second].map((member) => member.until(({ stdout }) => stdout.includes('shared'))),
      );
      expect(first.stdout.trim()).toBe(`shared-${assigned(first)[0]}`);
      expect(second.stdout.trim()).toBe(`shared-${assigned(second)[0]}`);

      await second.stop('SIGINT');
      await first.until(() => assigned(first).length === 2);
      await fill('alone');
      await first.until(({ stdout }) => lines(stdout).length === 3);
      expect(lines(first.stdout).slice(1).toSorted()).toEqual(['alone-0', 'alone-1']);
    } finally {
      await Promise.all([first.stop(), second.stop()]);
    }
  });

  test('commits transactions; read_committed leaves out aborted messages', async () => {
    const topic = unique('kcat-transactions');
    await produce(topic, 'committed-1\n', '-X', `transactional.id=${topic}`);
    await broker.writeAborted(topic, 'aborted');
    await produce(topic, 'committed-2\n', '-X', `transactional.id=${topic}`);
    const payloads = async (isolation: string): Promise<string[]> =>
      (await consume(topic, '-X', `isolation.level=${isolation}`)).map(({ payload }) => payload);
    expect(await payloads('read_committed')).toEqual(['committed-1', 'committed-2']);
    expect(await payloads('read_uncommitted')).toEqual(['committed-1', 'aborted', 'committed-2']);
  });

  test('looks up offsets by time', async () => {
    const topic = unique('kcat-times');
    await produce(topic, 'early\n');
    await produce(topic, 'late\n');
    const [early, late] = await consume(topic);
    const query = async (time: number): Promise<string> =>
      (await run(program, at('-Q', '-t', `${topic}:0:${time}`))).stdout.trim();
    expect(await query(early?.ts ?? 0)).toBe(`${topic} [0] offset 0`);
    expect(await query((early?.ts ?? 0) + 1)).toBe(`${topic} [0] offset 1`);
    expect(await query(late?.ts ?? 0)).toBe(`${topic} [0] offset 1`);
    // Later than every record: the end of the log.
    expect(await query((late?.ts ?? 0) + 1)).toBe(`${topic} [0] offset -1`);
    const since = await consume(topic, '-o', `s@${late?.ts ?? 0}`);
    expect(since.map(({ payload }) => payload)).toEqual(['late']);
  });
});

/** Returns the partitions that a group member has so far. */
function assigned({ stderr }: Program): string[] {
  const last = lines(stderr).findLast((line) => line.includes('assigned:') || line.includes('revoked:'));
  if (last === undefined || last.includes('revoked:')) return [];
  return [...last.slice(last.indexOf('assigned:')).matchAll(/\[(\d+)\]/g)].map(
    ([, partition]) => partition ?? '',
  );
}
