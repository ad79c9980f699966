import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { freePorts } from '../system/programs.js';

let folder: string;
let engine: ChildProcess;
let url: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-hostile-sql-'));
  const { port } = await freePorts('port');
  url = `http://127.0.0.1:${port}`;
  // A separate process group: SYSTEM KILL ends the group.
  engine = spawn(process.execPath, [join(packageRoot, 'dist/tests/system/engines/clickhouse.js')], {
    env: { ...process.env, DATA_DIR: join(folder, 'data'), CLICKHOUSE_PORT: String(port) },
    stdio: 'ignore',
    detached: true,
  });
  await vi.waitFor(() => fetch(`${url}/ping`), { timeout: 30_000 });
});

afterAll(async () => {
  if (engine.exitCode === null && engine.signalCode === null) {
    engine.kill('SIGKILL');
    await once(engine, 'exit');
  }
  await rm(folder, { recursive: true, force: true });
});

async function status(sql: string, parameters: Record<string, string> = {}, method = 'POST', headers = {}) {
  const query = new URLSearchParams(parameters);
  if (method === 'GET') query.set('query', sql);
  const init = method === 'GET' ? { headers } : { method, headers, body: sql };
  return (await fetch(`${url}/?${query.toString()}`, init)).status;
}

test.each(['SYSTEM KILL', '/* x */ system\n\tkill', 'SYSTEM SHUTDOWN', 'system shutdown;'])(
  'the process survives %j',
  async (sql) => {
    expect(await status(sql)).toBe(403);
    expect(await status('SELECT 1')).toBe(200);
    expect([engine.exitCode, engine.signalCode]).toEqual([null, null]);
  },
);

test.each(['00', '+0', '0'])('GET writes nothing, even with readonly %s', async (readonly) => {
  const out = join(folder, 'out');
  for (const sql of [
    'CREATE TABLE default.got (a Int8) ENGINE = Memory',
    `SELECT 1 INTO OUTFILE '${out}'`,
    `INSERT INTO FUNCTION file('${out}', 'CSV', 'a Int8') VALUES (1)`,
    'SYSTEM STOP MERGES',
  ])
    expect(await status(sql, { readonly }, 'GET')).toBeGreaterThanOrEqual(400);
  await expect(access(out)).rejects.toThrow('ENOENT');
  expect(await status('SELECT * FROM default.got')).toBe(404);
});

test('a page on another port is another site', async () => {
  const { port } = new URL(url);
  for (const origin of ['http://localhost:3000', 'http://127.0.0.1:1', 'http://[::1]:3000', 'null'])
    expect(await status('SELECT 1', {}, 'POST', { origin })).toBe(403);
  for (const name of ['localhost', '127.0.0.1', '[::1]'])
    expect(await status('SELECT 1', {}, 'POST', { origin: `http://${name}:${port}` })).toBe(200);
});

test('KILL QUERY does not wait behind the queries that it should end', async () => {
  const long = 'SELECT count() FROM system.numbers';
  const clients = [0, 1, 2, 3].map(() => status(long, { max_execution_time: '60' }));
  const kill = async () => {
    const start = performance.now();
    expect(await status("KILL QUERY WHERE query LIKE 'SELECT count() FROM system.numbers%'")).toBe(200);
    expect(performance.now() - start).toBeLessThan(10_000);
  };
  const ended = Promise.all(clients);
  let over = false;
  void ended.then(() => (over = true));
  await expect
    .poll(async () => {
      await kill();
      return over;
    })
    .toBe(true);
  expect(await ended).toEqual([500, 500, 500, 500]);
});

test("an INSERT can't contain a second statement", async () => {
  await status(
    "INSERT INTO FUNCTION null('a Int8') SELECT 1; CREATE TABLE default.multi (a Int8) ENGINE = Memory",
  );
  expect(await status('SELECT * FROM default.multi')).toBe(404);
});
