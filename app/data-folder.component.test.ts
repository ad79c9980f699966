import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openDataFolder } from './data-folder.js';

let parent: string;
let folder: string;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'millrace-folder-'));
  folder = join(parent, 'data');
});

afterEach(async () => {
  await rm(parent, { recursive: true, force: true });
});

/** Starts a process that locks the folder until it is killed. */
async function takeElsewhere(): Promise<() => Promise<void>> {
  const script = `
    const { openDataFolder } = await import(${JSON.stringify(new URL('data-folder.js', import.meta.url).href)});
    await openDataFolder(process.argv[1]).then(() => console.log('taken'), (error) => console.log(error.code));
    setInterval(() => undefined, 60_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [answer] = (await once(child.stdout, 'data')) as [Buffer];
  expect(answer.toString()).toBe('taken\n');
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
}

it('rejects an impossible folder at once', { skip: process.platform !== 'linux' }, async () => {
  await expect(openDataFolder('/proc/no/folder')).rejects.toMatchObject({ code: 'DATA_DIR_UNUSABLE' });
});

it('creates parent folders', async () => {
  folder = join(parent, 'a', 'b', 'c');
  await (await openDataFolder(folder)).release();
  expect(await readdir(join(parent, 'a', 'b'))).toEqual(['c']);
});

it('rejects a folder in use until the other process has ended or is killed', async () => {
  const kill = await takeElsewhere();
  await expect(openDataFolder(folder)).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' });
  await kill();
  const taken = await openDataFolder(folder);
  expect(await readdir(folder)).toEqual(['lock']);
  await taken.release();
  expect(await readdir(folder)).toEqual([]);
});

it('ignores a lock whose process id was reused', async () => {
  await (await openDataFolder(folder)).release();
  await writeFile(join(folder, 'lock'), `${process.ppid} 1`);
  const taken = await openDataFolder(folder);
  await taken.release();
});

it('names an unwritable folder and the setting', async () => {
  await writeFile(folder, 'a file');
  await expect(openDataFolder(folder)).rejects.toMatchObject({
    code: 'DATA_DIR_UNUSABLE',
    message: expect.stringContaining('DATA_DIR') as string,
  });
});
