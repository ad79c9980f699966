import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { transactionalFlag } from './protocol/record-batch.js';
import { textBatch, WireClient } from './testing/wire-client.js';
import type { Producer } from './testing/wire-client.js';

const crashes = Number(process.env['MILLRACE_CRASHES'] ?? 5);
/** Small, so that segments are closed, and checkpoints written, all the time. */
const smallSegments = { 'segment.bytes': '2048' };
const processPath = fileURLToPath(new URL('./testing/broker-process.js', import.meta.url));

let dataDir: string;
let broker: BrokerProcess;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-crash-'));
  broker = new BrokerProcess(dataDir);
  await broker.start();
});

afterEach(async () => {
  await broker.kill();
  await rm(dataDir, { recursive: true, force: true });
});

test(
  `kill -9 ${crashes} times under load: what was acknowledged is there once, in order, and nothing aborted shows`,
  { timeout: 60_000 + crashes * 5_000 },
  async () => {
    await retrying((client) => client.createTopic('plain', 1, smallSegments), isFine);
    await retrying((client) => client.createTopic('atomic', 2, smallSegments), isFine);
    let over = false;
    const loads = Promise.all([idempotentLoad('plain', () => over), transactionalLoad('atomic', () => over)]);
    for (let crash = 0; crash < crashes; crash++) {
      // A load that ends here has failed, and fails the test.
      await Promise.race([broker.somethingWasAnswered(5 + Math.floor(Math.random() * 40)), loads]);
      await broker.kill();
      await broker.start();
    }
    over = true;
    const [sent, committed] = await loads;

    const client = await WireClient.connect(broker.port);
    const plain = await client.readAll('plain', 0, true);
    expect(plain.map(({ value }) => value)).toEqual(sent);
    for (const partition of [0, 1]) {
      const atomic = await client.readAll('atomic', partition, true);
      expect(atomic.map(({ value }) => value)).toEqual(committed);
    }
    client.close();
  },
);

/** Writes one batch after another, each repeated until it is acknowledged. Returns all acknowledged ones. */
async function idempotentLoad(topic: string, over: () => boolean): Promise<string[]> {
  const { producerId, epoch } = await retrying((client) => client.initProducer(null), noError);
  const sent: string[] = [];
  for (let sequence = 0; !over();) {
    const values = Array.from({ length: 1 + (sequence % 7) }, (_, i) => `plain-${sequence + i}`);
    const batch = (): Buffer =>
      textBatch(values, { producerId, producerEpoch: epoch, baseSequence: sequence });
    await retrying((client) => client.produce(topic, 0, batch()), noError);
    sent.push(...values);
    sequence += values.length;
  }
  return sent;
}

/**
 * Runs transactions over two partitions, every third one aborted, each step repeated until it is answered.
 * Returns the committed ones.
 */
async function transactionalLoad(topic: string, over: () => boolean): Promise<string[]> {
  const id = 'crash-test';
  const producer = await retrying((client) => client.initProducer(id), noError);
  const committed: string[] = [];
  for (let sequence = 0; !over(); sequence++) {
    const value = `transaction-${sequence}`;
    await retrying(
      (client) => client.addPartitions(id, producer, topic, [0, 1]),
      (errors) => errors.every((code) => code === 0),
    );
    for (const partition of [0, 1]) {
      await retrying(
        (client) =>
          client.produce(topic, partition, transactional(value, producer, sequence), { transactionalId: id }),
        noError,
      );
    }
    const commit = sequence % 3 !== 0;
    await retrying(
      (client) => client.endTransaction(id, producer, commit),
      (errorCode) => errorCode === 0,
    );
    if (commit) committed.push(value);
  }
  return committed;
}

function transactional(value: string, { producerId, epoch }: Producer, baseSequence: number): Buffer {
  return textBatch([value], {
    producerId,
    producerEpoch: epoch,
    baseSequence,
    attributes: transactionalFlag,
  });
}

/** Repeats a call over breaking connections until it gets the right answer; a wrong answer fails the test. */
async function retrying<T>(
  call: (client: WireClient) => Promise<T>,
  isRight: (answer: T) => boolean,
): Promise<T> {
  for (;;) {
    let answer: T;
    try {
      const client = await WireClient.connect(await broker.listening);
      answer = await call(client).finally(() => client.close());
    } catch {
      continue;
    }
    broker.answered();
    if (!isRight(answer)) throw new Error(`The broker answered ${JSON.stringify(answer)}.`);
    return answer;
  }
}

const noError = ({ errorCode }: { errorCode: number }): boolean => errorCode === 0;
const topicExists = 36;
const isFine = (errorCode: number): boolean => errorCode === 0 || errorCode === topicExists;

/** The broker in its process, on the port of its first start. */
class BrokerProcess {
  port = 0;
  listening: Promise<number> = Promise.resolve(0);
  readonly #dataDir: string;
  #child: ChildProcess | undefined;
  #answers = 0;
  #onAnswer: () => void = () => undefined;

  constructor(folder: string) {
    this.#dataDir = folder;
  }

  async start(): Promise<void> {
    this.#child = fork(processPath, [this.#dataDir, String(this.port)]);
    this.listening = once(this.#child, 'message').then(([port]) => Number(port));
    this.port = await this.listening;
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  answered(): void {
    this.#answers++;
    this.#onAnswer();
  }

  async somethingWasAnswered(times: number): Promise<void> {
    const until = this.#answers + times;
    await new Promise<void>((resolve) => {
      this.#onAnswer = () => {
        if (this.#answers >= until) resolve();
      };
    });
  }
}
