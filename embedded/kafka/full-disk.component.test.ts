import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { textBatch, WireClient } from './testing/wire-client.js';

const processPath = fileURLToPath(new URL('./testing/broker-process.js', import.meta.url));
/** In a separate mount namespace: a disk of 4 MiB, and the broker on it. Ends with its standard input. */
const script = `
  mount -t tmpfs -o size=4m tmpfs "$1" || exit 1
  "$2" "$3" "$1" 0 &
  while read -r _; do :; done
  kill -9 $!
`;
const canMount =
  spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', tmpdir()], { stdio: 'ignore' }).status === 0;

let folder: string;
let shell: ChildProcess;
let client: WireClient;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-full-disk-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

test.skipIf(!canMount)(
  'a full disk: producers get a retriable error, reading continues, and writing does once there is room (needs unshare)',
  async () => {
    shell = spawn('unshare', ['-rm', 'sh', '-c', script, 'sh', folder, process.execPath, processPath], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const exited = once(shell, 'exit');
    try {
      const [line] = shell.stdout === null ? [] : await once(shell.stdout, 'data');
      client = await WireClient.connect(Number(line));
      await client.createTopic('filler');
      await client.createTopic('kept');
      expect(await client.produce('kept', 0, textBatch(['first']))).toMatchObject({ errorCode: 0 });
      let errorCode = 0;
      let filled = 0;
      while (errorCode === 0) {
        ({ errorCode } = await client.produce('filler', 0, textBatch(['x'.repeat(100_000)])));
        if (errorCode === 0) filled++;
      }
      expect(errorCode).toBe(56);
      expect(filled).toBeGreaterThan(20);
      expect((await client.readAll('filler', 0, true)).length).toBe(filled);
      expect((await client.readAll('kept', 0, true)).map(({ value }) => value)).toEqual(['first']);
      expect(await client.produce('filler', 0, textBatch(['y'.repeat(900_000)]))).toMatchObject({
        errorCode: 56,
      });
      // Topics can still be deleted, which frees space.
      await client.deleteTopic('filler');
      await expect
        .poll(async () => (await client.produce('kept', 0, textBatch(['second']))).errorCode)
        .toBe(0);
      expect((await client.readAll('kept', 0, true)).map(({ value }) => value)).toEqual(['first', 'second']);
    } finally {
      client.close();
      shell.stdin?.end();
      await exited;
    }
  },
);
