import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger, rotateLog } from './logger.js';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-logger-'));
  file = join(folder, 'logs', 'millrace.log');
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

it('appends JSON lines to a file, and creates its folder', async () => {
  for (const run of [1, 2]) {
    const logger = createLogger('info', file);
    logger.info({ run }, 'hello');
    logger.debug('not this');
  }
  const lines = (await readFile(file, 'utf8')).trim().split('\n');
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    expect.objectContaining({ run: 1, msg: 'hello' }),
    expect.objectContaining({ run: 2, msg: 'hello' }),
  ]);
});

// Linux's device that is always full.
it.skipIf(!existsSync('/dev/full'))(
  'reports a full disk once and lets the process continue and end well',
  async () => {
    const script = `
    const { createLogger } = await import(${JSON.stringify(new URL('logger.js', import.meta.url).href)});
    const { setTimeout } = await import('node:timers/promises');
    const logger = createLogger('info', '/dev/full');
    for (let line = 0; line < 5; line++) {
      logger.info('hello');
      await setTimeout(5);
    }
    console.log('went on');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 10_000,
    });
    const [out, err, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ]);
    expect({ out, err, code: code as unknown }).toEqual({
      out: 'went on\n',
      err: expect.stringMatching(/^The log \/dev\/full can't be written: ENOSPC.*\n$/) as string,
      code: 0,
    });
  },
);

it('renames a large file, replacing the previous one, and keeps a small one', async () => {
  const small = join(folder, 'small.log');
  const large = join(folder, 'large.log');
  await writeFile(small, 'x'.repeat(10));
  await writeFile(large, 'x'.repeat(11));
  await writeFile(`${large}.1`, 'older');
  for (const each of [small, large, join(folder, 'missing.log')]) rotateLog(each, 10);
  expect(await readdir(folder)).toEqual(['large.log.1', 'small.log']);
  expect(await readFile(`${large}.1`, 'utf8')).toHaveLength(11);
});
