import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '../../platform/paths.js';

export interface EmbeddedProcess {
  address: string;
  startMs: number;
  /** Peak memory that the broker added to its process. */
  addedBytes(): Promise<number>;
  stop(): Promise<void>;
}

export async function startEmbeddedProcess(dataDir: string): Promise<EmbeddedProcess> {
  const child = fork(new URL('./embedded-process.js', import.meta.url), [dataDir]);
  const [{ port, startMs }] = (await once(child, 'message')) as [{ port: number; startMs: number }];
  return {
    address: `127.0.0.1:${port}`,
    startMs,
    async addedBytes() {
      child.send('memory');
      const [{ addedBytes }] = (await once(child, 'message')) as [{ addedBytes: number }];
      return addedBytes;
    },
    stop: () => end(child),
  };
}

/** Apache Kafka by the project's script; `undefined` without Java or Maven. */
export async function startApacheKafka(): Promise<{ address: string; stop(): Promise<void> } | undefined> {
  if (!isInstalled('java', '-version') || !isInstalled('mvn', '-v')) return undefined;
  const child = spawn(process.execPath, [join(packageRoot, 'scripts', 'apache-kafka.mjs')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface(child.stdout)) {
    const address = /^KAFKA_BROKERS=(.+)$/.exec(line)?.[1];
    if (address !== undefined) return { address, stop: () => end(child) };
  }
  throw new Error('Apache Kafka did not start: see above.');
}

export function isInstalled(command: string, versionFlag: string): boolean {
  return spawnSync(command, [versionFlag], { stdio: 'ignore' }).status === 0;
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}
