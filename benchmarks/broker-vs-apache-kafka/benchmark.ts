import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Benchmark, Figure } from '../benchmark.js';
import { figure, inTurn, ratios } from '../benchmark.js';
import { isInstalled, startApacheKafka, startEmbeddedProcess } from './brokers.js';
import type { EmbeddedProcess } from './brokers.js';
import { type Client, createTopic, type Load, withKafkajs, withKcat, writeLines } from './clients.js';

const rounds = 5;
const starts = 7;
const mebibyte = 1024 * 1024;
const aims = new Map([
  [withKafkajs, 1],
  [withKcat, 0.5],
]);

export const benchmark: Benchmark = {
  question: 'How fast is the embedded broker, next to Apache Kafka?',
  method:
    'Both run on this machine at once, each in a process of its own, with the folder for temporary files as their disk, and ' +
    'are used in turn. kafkajs sends 500 records a call, 4 calls at once, acks=all; it consumes in a group, timed from the ' +
    'first records on. kcat (librdkafka) produces the lines of a file and consumes from the beginning, start and exit ' +
    'included. One topic, one partition, no compression. Memory is the most that the broker’s process ever had resident, ' +
    'less what it had before the broker started.',
  caveats: [
    'An acknowledged record is on disk (fdatasync) with the embedded broker, in the page cache with Apache Kafka.',
    'On a machine with few cores client and broker share them: a client that works more slowly hides a difference.',
  ],
  async run(scale, progress) {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
    const figures: Figure[] = [];
    progress(`starting ${starts} times`);
    figures.push(figure('start', 'ms', await startTimes(folder), { atMost: 300 }));
    const embedded = await startEmbeddedProcess(join(folder, 'embedded'));
    progress('starting Apache Kafka');
    const apache = await startApacheKafka();
    if (apache === undefined) progress('skipped: Apache Kafka (needs Java 17 and Maven)');
    const clients = [withKafkajs, withKcat].filter(
      (client) => client === withKafkajs || isInstalled('kcat', '-V'),
    );
    if (!clients.includes(withKcat)) progress('skipped: kcat (not installed)');
    try {
      for (const [bytes, full] of [
        [100, 300_000],
        [1024, 100_000],
      ] as const) {
        const count = Math.ceil(full * scale);
        const load = { count, bytes, value: 'x'.repeat(bytes), file: join(folder, `records-${bytes}`) };
        await writeLines(load);
        for (const client of clients) {
          progress(`${client.name}, ${count} records of ${bytes} bytes, ${rounds} rounds`);
          figures.push(...(await compare(client, load, embedded, apache?.address)));
        }
      }
      const added = (await embedded.addedBytes()) / mebibyte;
      figures.push(figure('memory added under this load', 'MiB', [added], { atMost: 100 }));
    } finally {
      await apache?.stop();
      await embedded.stop();
      await rm(folder, { recursive: true, force: true });
    }
    return figures;
  },
};

async function startTimes(folder: string): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < starts; i++) {
    const embedded = await startEmbeddedProcess(join(folder, 'start'));
    times.push(embedded.startMs);
    await embedded.stop();
  }
  return times;
}

async function compare(
  client: Client,
  load: Load,
  embedded: EmbeddedProcess,
  apache: string | undefined,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  // Consuming reads the records of the first producing run; its topic then stays unchanged.
  const [produced, stored] = ['produced', 'stored'].map((use) => `${use}-${client.name}-${load.bytes}`) as [
    string,
    string,
  ];
  for (const address of apache === undefined ? [embedded.address] : [embedded.address, apache]) {
    await createTopic(address, produced);
    await createTopic(address, stored);
    await client.produce(address, stored, load);
  }
  for (const [what, topic, task] of [
    ['produce', produced, client.produce],
    ['consume', stored, client.consume],
  ] as const) {
    const name = `${client.name} ${what}, ${load.bytes} bytes`;
    const onEmbedded = (): Promise<number> => task(embedded.address, topic, load);
    if (apache === undefined) {
      figures.push(
        figure(`${name}, embedded`, 'records/s', (await inTurn(rounds, { onEmbedded })).onEmbedded),
      );
      continue;
    }
    const samples = await inTurn(rounds, { onEmbedded, onApache: () => task(apache, topic, load) });
    const atLeast = aims.get(client) ?? 0;
    figures.push(
      figure(`${name}: embedded ÷ Apache Kafka`, 'ratio', ratios(samples.onEmbedded, samples.onApache), {
        atLeast,
      }),
      figure(`${name}, embedded`, 'records/s', samples.onEmbedded),
      figure(`${name}, Apache Kafka`, 'records/s', samples.onApache),
    );
  }
  return figures;
}
