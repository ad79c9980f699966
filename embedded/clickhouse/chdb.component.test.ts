import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';

const opener = `
  const { Chdb } = await import(${JSON.stringify(new URL('chdb.js', import.meta.url).href)});
  try {
    await Chdb.open(process.argv[1]);
    console.log('open');
    setInterval(() => {}, 1000);
  } catch (error) {
    console.log(JSON.stringify({ code: error.code, message: error.message }));
  }
`;

/** A resolver without the optional package. */
const withoutChdb = `
  export const resolve = (specifier, context, next) => {
    if (/^chdb/.test(specifier)) throw new Error("Cannot find package 'chdb'");
    return next(specifier, context);
  };
`;

let folder: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-chdb-'));
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await rm(folder, { recursive: true, force: true });
});

function openIn(dataDir: string, ...nodeOptions: string[]) {
  const options = [...nodeOptions, '--input-type=module', '-e', opener, dataDir];
  const child = spawn(process.execPath, options, { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  return child;
}

function asModule(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

test('without the optional package the error says what to do', async () => {
  const register = asModule(
    `import { register } from 'node:module'; register(${JSON.stringify(asModule(withoutChdb))});`,
  );
  const error: unknown = JSON.parse(await text(openIn(folder, '--import', register).stdout));
  expect(error).toEqual({ code: 'CHDB_MISSING', message: expect.stringContaining('CLICKHOUSE_URL') });
});

test('the error names a folder that another process has open', async () => {
  const first = openIn(folder);
  expect(String((await once(first.stdout, 'data'))[0])).toBe('open\n');
  const error: unknown = JSON.parse(await text(openIn(folder).stdout));
  expect(error).toEqual({ code: 'CHDB_OPEN_FAILED', message: expect.stringContaining(folder) });
});

test('the error names a folder that can not be created', async () => {
  await writeFile(join(folder, 'file'), '');
  const error: unknown = JSON.parse(await text(openIn(join(folder, 'file', 'data')).stdout));
  expect(error).toEqual({ code: 'CHDB_OPEN_FAILED', message: expect.stringContaining(folder) });
});
