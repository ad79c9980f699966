import { request } from 'node:http';
import { Readable } from 'node:stream';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningServer } from '../local-http.js';
import { Chdb } from './chdb.js';
import { startClickHouseEndpoint } from './endpoint.js';

let folder: string;
let chdb: Chdb;
let endpoint: RunningServer;
let url: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-clickhouse-'));
  chdb = await Chdb.open(folder);
  endpoint = await startClickHouseEndpoint({
    host: '127.0.0.1',
    port: 0,
    chdb,
    maxBodyBytes: 1_000_000,
    maxResultBytes: 10_000_000,
  });
  url = `http://127.0.0.1:${endpoint.port}`;
  await post('CREATE DATABASE shop');
  await post('CREATE TABLE shop.items (id UInt32, name String) ENGINE = MergeTree ORDER BY id');
});

afterAll(async () => {
  await endpoint.stop();
  await chdb.close();
  await rm(folder, { recursive: true, force: true });
});

/** Awaited even after a failure, so that tests do not share rows. */
async function emptyItems(): Promise<void> {
  await post('TRUNCATE TABLE shop.items');
}

async function get(parameters: Record<string, string>): Promise<Response> {
  return await fetch(`${url}/?${new URLSearchParams(parameters).toString()}`);
}

async function post(
  body: string | Uint8Array<ArrayBuffer>,
  parameters: Record<string, string> = {},
  headers = {},
): Promise<Response> {
  return await fetch(`${url}/?${new URLSearchParams(parameters).toString()}`, {
    method: 'POST',
    body,
    headers,
  });
}

async function countRunning(): Promise<string> {
  const own = createClient({ connection: chdb.connection() });
  const query = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(sipHash64(number))%'";
  return (await (await own.query({ query, format: 'TabSeparated' })).text()).trim();
}

describe('with an HTTP client', () => {
  test('answers a query in the URL, in TabSeparated unless it asks for another format', async () => {
    const plain = await get({ query: "SELECT 1, 'a'" });
    expect([plain.status, await plain.text()]).toEqual([200, '1\ta\n']);
    expect(plain.headers.get('content-type')).toBe('text/tab-separated-values; charset=UTF-8');
    expect(plain.headers.get('x-clickhouse-format')).toBe('TabSeparated');
    expect(JSON.parse(plain.headers.get('x-clickhouse-summary') ?? '')).toMatchObject({ written_rows: '0' });
    expect(await (await get({ query: 'SELECT 1 AS a', default_format: 'JSONEachRow' })).text()).toBe(
      '{"a":1}\n',
    );
    expect(await (await get({ query: 'SELECT 1 AS a FORMAT CSVWithNames' })).text()).toBe('"a"\n1\n');
  });

  test('keeps the query id, or makes one', async () => {
    expect((await get({ query: 'SELECT 1', query_id: 'mine' })).headers.get('x-clickhouse-query-id')).toBe(
      'mine',
    );
    expect((await get({ query: 'SELECT 1' })).headers.get('x-clickhouse-query-id')).toMatch(
      /^[0-9a-f-]{36}$/,
    );
  });

  test('joins the query of the URL and the body', async () => {
    await emptyItems();
    const inserted = await post('{"id":1,"name":"a; DROP TABLE shop.items"}\n{"id":2,"name":"é"}\n', {
      query: 'INSERT INTO items FORMAT JSONEachRow',
      database: 'shop',
    });
    expect(inserted.status).toBe(200);
    expect(await (await post('SELECT name FROM shop.items ORDER BY id')).text()).toBe(
      'a; DROP TABLE shop.items\né\n',
    );
  });

  test('an insert without rows does nothing, without an error', async () => {
    expect((await post('', { query: 'INSERT INTO shop.items FORMAT JSONEachRow' })).status).toBe(200);
  });

  test('binds query parameters, whatever they contain', async () => {
    const value = `it's "a" \\\\ {b:String} ;`;
    const answer = await get({
      query: 'SELECT {text:String}, {list:Array(UInt8)}',
      param_text: value,
      param_list: '[1,2]',
    });
    expect(await answer.text()).toBe('it\\\'s "a" \\\\ {b:String} ;\t[1,2]\n');
    expect((await get({ query: 'SELECT {absent:String}' })).status).toBe(500);
  });

  test('applies settings from the URL to that query only', async () => {
    const query = "SELECT getSetting('max_threads'), getSetting('log_comment')";
    expect(await (await get({ query, max_threads: '1', log_comment: "it's" })).text()).toBe("1\tit\\'s\n");
    expect(await (await get({ query })).text()).not.toContain("it\\'s");
    const param = await get({ query: 'SELECT {text:String}' });
    expect(param.headers.get('x-clickhouse-exception-code')).toBe('456');
    expect((await get({ query: 'SELECT currentDatabase()', database: 'shop' })).ok).toBe(true);
    expect(await (await get({ query: 'SELECT currentDatabase()' })).text()).toBe('default\n');
  });

  test('GET can not write, not even by its settings', async () => {
    await emptyItems();
    const attempts: Record<string, string>[] = [{}, { readonly: '0' }, { readonly: '2' }];
    for (const settings of attempts) {
      const answer = await get({ query: "INSERT INTO shop.items VALUES (1, 'x')", ...settings });
      expect([answer.status, answer.headers.get('x-clickhouse-exception-code')]).toEqual([500, '164']);
    }
    expect((await get({ query: 'SET readonly = 0' })).headers.get('x-clickhouse-exception-code')).toBe('164');
    expect(await (await post('SELECT count() FROM shop.items')).text()).toBe('0\n');
  });

  test('runs one statement, as a server does', async () => {
    const answer = await post("SELECT ';'; DROP TABLE shop.items");
    expect([answer.status, await answer.text()]).toEqual([
      400,
      expect.stringContaining('Multi-statements are not allowed'),
    ]);
    expect((await post("SELECT ';' ; -- the end")).status).toBe(200);
  });

  test.each([
    ['SELEC 1', 400, '62', 'SYNTAX_ERROR'],
    ['SELECT * FROM shop.nothing', 404, '60', 'UNKNOWN_TABLE'],
    ['SELECT no_function()', 404, '46', 'UNKNOWN_FUNCTION'],
    ['SELECT nothing', 404, '47', 'UNKNOWN_IDENTIFIER'],
    ['SELECT 1 FORMAT Nothing', 404, '73', 'UNKNOWN_FORMAT'],
    ["SELECT toInt32('x')", 400, '6', 'CANNOT_PARSE_TEXT'],
    ['SELECT throwIf(1)', 500, '395', 'FUNCTION_THROW_IF_VALUE_IS_NON_ZERO'],
    ['', 400, '62', 'Empty query'],
  ])('%s is %i, code %s', async (query, status, code, name) => {
    const answer = await post(query);
    expect([answer.status, answer.headers.get('x-clickhouse-exception-code')]).toEqual([status, code]);
    const text = await answer.text();
    expect(text).toMatch(new RegExp(`^Code: ${code}\\. DB::Exception: `));
    expect(text).toContain(name);
  });

  test('unknown settings and databases are refused, and unsupported features by name', async () => {
    expect((await get({ query: 'SELECT 1', no_such_setting: '1' })).status).toBe(404);
    expect((await get({ query: 'SELECT 1', "x'; DROP": '1' })).status).toBe(404);
    expect((await get({ query: 'SELECT 1', database: 'no`where' })).status).toBe(404);
    expect((await get({ query: 'SELECT 1', role: 'r' })).status).toBe(501);
    expect(
      (await post(new Uint8Array([0xff, 0xfe]), { query: 'INSERT INTO shop.items FORMAT RowBinary' })).status,
    ).toBe(501);
  });

  test('limits results and bodies', async () => {
    const result = await get({ query: 'SELECT toString(number), sipHash64(number) FROM numbers(2000000)' });
    expect([result.status, await result.text()]).toEqual([
      500,
      expect.stringContaining('Limit for result exceeded'),
    ]);
    const body = await post(`SELECT 1 --${'x'.repeat(1_000_000)}`);
    expect([body.status, await body.text()]).toEqual([
      413,
      expect.stringContaining('more than 1000000 bytes'),
    ]);
    const bomb = gzipSync(`SELECT 1 --${'x'.repeat(3_000_000)}`);
    expect((await post(new Uint8Array(bomb), {}, { 'content-encoding': 'gzip' })).status).toBe(413);
    expect((await get({ query: 'SELECT sleep(3)', max_execution_time: '1' })).status).not.toBe(200);
  });

  test('compresses when asked, and reads compressed bodies', async () => {
    const zipped = new Uint8Array(gzipSync("SELECT 'zipped'"));
    const answer = await post(
      zipped,
      { enable_http_compression: '1' },
      { 'content-encoding': 'gzip', 'accept-encoding': 'gzip' },
    );
    expect(answer.headers.get('content-encoding')).toBe('gzip');
    expect(await answer.text()).toBe('zipped\n');
    expect((await get({ query: 'SELECT 1' })).headers.get('content-encoding')).toBeNull();
    expect((await post('not gzip', {}, { 'content-encoding': 'gzip' })).status).toBe(400);
    expect((await post('x', {}, { 'content-encoding': 'zstd' })).status).toBe(501);
  });

  test('answers a ping', async () => {
    for (const path of ['/ping', '/replicas_status', '/'])
      expect(await (await fetch(url + path)).text()).toBe('Ok.\n');
    expect((await fetch(`${url}/nothing`)).status).toBe(404);
    expect((await fetch(`${url}/?query=SELECT+1`, { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(501);
  });

  test('refuses pages of other sites and foreign host names, and allows no cross-origin reads', async () => {
    expect((await post('SELECT 1', {}, { origin: 'https://site.example' })).status).toBe(403);
    const status = await new Promise((resolve, reject) => {
      request(`${url}/?query=SELECT+1`, { headers: { host: 'rebound.example' } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(status).toBe(403);
    expect(
      (await get({ query: 'SELECT 1', add_http_cors_header: '1' })).headers.get(
        'access-control-allow-origin',
      ),
    ).toBeNull();
  });

  test('heavy external queries leave the application a slot', async () => {
    const order: string[] = [];
    const heavy = Array.from({ length: 3 }, async () => {
      await (
        await get({ query: 'SELECT sleepEachRow(0.5) FROM numbers(4) SETTINGS max_block_size = 1' })
      ).text();
      order.push('guest');
    });
    const own = createClient({ connection: chdb.connection() });
    const rows = await (await own.query({ query: 'SELECT 1 AS a', format: 'JSONEachRow' })).json();
    order.push('own');
    await Promise.all(heavy);
    expect(rows).toEqual([{ a: 1 }]);
    expect(order).toEqual(['own', 'guest', 'guest', 'guest']);
  });
});

describe('a query that runs for very long', () => {
  const endless = 'SELECT sum(sipHash64(number)) FROM system.numbers';

  test('is cancelled when its client disconnects', async () => {
    const client = new AbortController();
    const answer = fetch(`${url}/?query=${encodeURIComponent(endless)}`, { signal: client.signal });
    await expect.poll(countRunning).toBe('1');
    client.abort();
    await expect(answer).rejects.toThrow('aborted');
    await expect.poll(countRunning).toBe('0');
  });

  test('is cancelled even with its own comment', async () => {
    const client = new AbortController();
    const query = `${endless} SETTINGS log_comment = 'mine'`;
    const parameters = new URLSearchParams({ query, log_comment: 'mine too' }).toString();
    const answer = fetch(`${url}/?${parameters}`, { signal: client.signal });
    await expect.poll(countRunning).toBe('1');
    client.abort();
    await expect(answer).rejects.toThrow('aborted');
    await expect.poll(countRunning).toBe('0');
  });

  test('is listed and ended by others while such queries occupy all slots', async () => {
    const clients = [0, 1].map(() => get({ query: endless, max_execution_time: '60' }));
    await expect.poll(countRunning).toBe('2');
    const seen = await get({ query: 'SELECT query FROM system.processes ORDER BY elapsed DESC' });
    expect(await seen.text()).toContain(endless);
    const kill = "kill /* all */ query WHERE query LIKE 'SELECT sum(sipHash64(number))%' SYNC";
    expect((await post(kill)).status).toBe(200);
    const codes = (await Promise.all(clients)).map((answer) =>
      answer.headers.get('x-clickhouse-exception-code'),
    );
    expect(codes).toEqual(['394', '394']);
  });

  test('does not keep the endpoint from stopping', async () => {
    const other = await startClickHouseEndpoint({ host: '127.0.0.1', port: 0, chdb });
    const answer = fetch(`http://127.0.0.1:${other.port}/?query=${encodeURIComponent(endless)}`);
    await expect.poll(countRunning).toBe('1');
    await other.stop();
    expect([(await answer).status, (await answer).headers.get('x-clickhouse-exception-code')]).toEqual([
      500,
      '394',
    ]);
  });
});

describe('with the official client', () => {
  let client: ClickHouseClient;

  beforeAll(() => {
    client = createClient({
      url,
      log: { level: ClickHouseLogLevel.OFF },
      compression: { request: true, response: true },
    });
  });

  afterAll(async () => {
    await client.close();
  });

  test('pings', async () => {
    expect(await client.ping()).toEqual({ success: true });
    expect(await client.ping({ select: true })).toEqual({ success: true });
  });

  test('inserts arrays and streams, and reads them back', async () => {
    await emptyItems();
    const values = Array.from({ length: 1000 }, (_, id) => ({ id, name: `n${id}\n'"\\;` }));
    await client.insert({ table: 'shop.items', values, format: 'JSONEachRow' });
    await client.insert({
      table: 'shop.items',
      values: Readable.from([{ id: 1000, name: 'streamed' }]),
      format: 'JSONEachRow',
    });
    const result = await client.query({
      query:
        'SELECT id, name FROM shop.items WHERE name IN {names:Array(String)} OR id = {id:UInt32} ORDER BY id',
      query_params: { names: [values[3]?.name, 'streamed'], id: 7 },
      format: 'JSONEachRow',
    });
    expect(await result.json()).toEqual([values[3], values[7], { id: 1000, name: 'streamed' }]);
  });

  test('streams a select', async () => {
    const result = await client.query({ query: 'SELECT number FROM numbers(200000)', format: 'JSONEachRow' });
    let rows = 0;
    for await (const chunk of result.stream()) rows += chunk.length;
    expect(rows).toBe(200_000);
  });

  test('accepts many parameters in the URL', async () => {
    const ids = Array.from(
      { length: 5000 },
      (_, index) => `0199a0b0-0000-7000-8000-${String(index).padStart(12, '0')}`,
    );
    const result = await client.query({
      query: 'SELECT length({ids:Array(String)}) AS n',
      query_params: { ids },
      format: 'JSONEachRow',
    });
    expect(await result.json()).toEqual([{ n: 5000 }]);
  });

  test('gets errors like those of a server', async () => {
    const failed = client.query({ query: 'SELECT * FROM shop.nothing' });
    await expect(failed).rejects.toMatchObject({ code: '60', type: 'UNKNOWN_TABLE' });
  });

  test('runs commands', async () => {
    await client.command({ query: 'CREATE TABLE shop.other (a Int8) ENGINE = Memory' });
    await client.command({
      query: 'INSERT INTO shop.other SELECT 5',
      clickhouse_settings: { wait_end_of_query: 1 },
    });
    const result = await client.exec({ query: 'SELECT a FROM shop.other FORMAT CSV' });
    const chunks: Buffer[] = [];
    for await (const chunk of result.stream) chunks.push(Buffer.from(chunk));
    expect(Buffer.concat(chunks).toString()).toBe('5\n');
  });
});
