import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';

/** Writes a message to a broker and prints the message that it reads back. */
const client = `
import { Kafka } from 'kafkajs';
const kafka = new Kafka({ brokers: [process.argv[2]] });
const producer = kafka.producer();
await producer.connect();
await producer.send({ topic: 'rides', messages: [{ value: 'from the client' }] });
await producer.disconnect();
const consumer = kafka.consumer({ groupId: 'readers' });
await consumer.connect();
await consumer.subscribe({ topic: 'rides', fromBeginning: true });
await consumer.run({ eachMessage: async ({ message }) => {
  process.stdout.write(message.value.toString());
  process.exit(0);
} });
`;

describe('the package @millrace/embedded, packed and installed into an empty project', () => {
  let folder: string;
  const path = (...names: string[]): string => join(folder, ...names);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-package-'));
    const pack = ['pack', '-w', '@millrace/embedded', '--ignore-scripts=false', '--pack-destination', folder];
    run('npm', pack, packageRoot);
    const [tarball = ''] = await readdir(folder);
    await mkdir(path('temporary'));
    await writeFile(path('package.json'), '{ "type": "module" }');
    const packages = [join(folder, tarball), 'kafkajs@2.2.4', 'vitest@4', 'typescript@7', '@types/node@20'];
    run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error', ...packages], folder);
  }, 300_000);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('contains its licence, and neither tests nor other parts of Millrace', async () => {
    const files = await readdir(path('node_modules/@millrace/embedded'), { recursive: true });
    expect(files.filter((file) => /test|testing|\.map$|(?<!\.d)\.ts$/.test(file))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'dist/embedded/kafka/worker.js']));
    expect(await readdir(path('node_modules/@millrace/embedded/dist'))).toEqual(['embedded', 'platform']);
  });

  it('runs the test of its README, which type-checks', async () => {
    const readme = await readFile(path('node_modules/@millrace/embedded/README.md'), 'utf8');
    const [, example = ''] = /```ts\n(import .*?)```/s.exec(readme) ?? [];
    expect(example).toContain('startKafka');
    await writeFile(path('kafka.test.ts'), example);
    const types = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
    run('npx', ['tsc', '--ignoreConfig', ...types, 'kafka.test.ts'], folder);
    expect(run('npx', ['vitest', 'run'], folder)).toContain('1 passed');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'runs as a command until %s, and removes its data',
    async (signal) => {
      const command = spawn(
        path('node_modules/.bin/millrace-embedded'),
        ['--port', '0', '--registry-port', '0'],
        { env: { ...process.env, TMPDIR: path('temporary') }, stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const exited = once(command, 'exit');
      try {
        const addresses: Record<string, string> = {};
        for await (const line of createInterface(command.stdout)) {
          const [, name = '', address = ''] = /^(\S.*?) {2,}(.*)$/.exec(line) ?? [];
          addresses[name] = address;
          if (line.startsWith('Ctrl-C')) break;
        }
        expect(await readdir(path('temporary'))).toHaveLength(1);
        await writeFile(path('client.mjs'), client);
        expect(run(process.execPath, ['client.mjs', addresses['Kafka'] ?? ''], folder)).toContain(
          'from the client',
        );
        expect(await (await fetch(`${addresses['Schema registry']}/subjects`)).json()).toEqual([]);
      } finally {
        command.kill(signal);
      }
      expect(await exited).toEqual([0, null]);
      expect(await readdir(path('temporary'))).toEqual([]);
    },
  );
});

/** @returns the command's standard output. */
function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  expect(status, `${command} ${args.join(' ')}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}
