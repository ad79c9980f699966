import { access, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningServer } from '../local-http.js';
import { Chdb } from './chdb.js';
import { startClickHouseEndpoint } from './endpoint.js';
import { classes, refuseStatement } from './statement.js';

const secret = 'not-for-guests';

let folder: string;
let outside: string;
let chdb: Chdb;
let endpoint: RunningServer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-clickhouse-'));
  outside = await mkdtemp(join(tmpdir(), 'millrace-outside-'));
  await writeFile(join(outside, 'secret'), secret);
  chdb = await Chdb.open(folder);
  endpoint = await startClickHouseEndpoint({ host: '127.0.0.1', port: 0, chdb });
  await send('CREATE DATABASE shop');
  await send('CREATE TABLE shop.items (id UInt32, name String) ENGINE = MergeTree ORDER BY id');
  await send('CREATE TABLE shop.lists (columns String) ENGINE = Memory');
  await send(
    `INSERT INTO shop.lists FORMAT TSV\na String, b String ALIAS file('${join(outside, 'secret')}')\n`,
  );
});

afterAll(async () => {
  await endpoint.stop();
  await chdb.close();
  await rm(folder, { recursive: true, force: true });
  await rm(outside, { recursive: true, force: true });
});

async function send(sql: string, parameters: Record<string, string> = {}, method = 'POST') {
  const query = new URLSearchParams(parameters);
  if (method === 'GET') query.set('query', sql);
  const response = await fetch(`http://127.0.0.1:${endpoint.port}/?${query.toString()}`, {
    method,
    ...(method === 'GET' ? {} : { body: sql }),
  });
  return {
    status: response.status,
    code: response.headers.get('x-clickhouse-exception-code'),
    text: await response.text(),
  };
}

/** In the statements below: `<secret>` is a file that is there, `<out>` a file that is not, `<dir>` their folder. */
function inPlace(sql: string): string {
  return sql
    .replaceAll('<secret>', join(outside, 'secret'))
    .replaceAll('<out>', join(outside, 'out'))
    .replaceAll('<dir>', outside);
}

describe.each([
  [
    'ends the process',
    [
      'SYSTEM KILL',
      'SYSTEM SHUTDOWN',
      ' /* a */ system -- b\n kill;',
      'SYSTEM SUSPEND FOR 1 SECOND',
      'SYSTEM STOP LISTEN HTTP',
    ],
  ],
  [
    'writes a file',
    [
      "SELECT 1 INTO OUTFILE '<out>'",
      "select 1 into/**/outfile '<out>' truncate format CSV",
      "SELECT 1 INTO OUTFILE '<out>' AND STDOUT",
      "SHOW TABLES INTO OUTFILE '<out>'",
      "EXPLAIN SELECT 1 INTO OUTFILE '<out>'",
      "WITH 1 AS a (SELECT a) UNION ALL SELECT 2 INTO OUTFILE '<out>'",
      "INSERT INTO FUNCTION file('<out>', 'CSV', 'a Int8') SELECT 1",
      "INSERT INTO TABLE FUNCTION `file`('<out>', 'CSV', 'a Int8') VALUES (1)",
      "CREATE TABLE shop.out (a Int8) ENGINE = File(CSV, '<out>')",
      "CREATE TABLE shop.out (a Int8) ENGINE = `File`('CSV')",
      "CREATE TABLE shop.out (a Int8) ENGINE = EmbeddedRocksDB(0, '<out>') PRIMARY KEY a",
      "CREATE TABLE shop.out (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = object_storage, object_storage_type = local_blob_storage, metadata_type = local, path = '<out>/')",
      "ALTER TABLE shop.items MODIFY SETTING disk = disk(type = object_storage, object_storage_type = local_blob_storage, metadata_type = local, path = '<out>/')",
      "CREATE DATABASE elsewhere ENGINE = Atomic SETTINGS disk = disk(type = object_storage, object_storage_type = local_blob_storage, metadata_type = local, path = '<out>/')",
      "CREATE DATABASE light ENGINE = SQLite('<out>')",
      "BACKUP TABLE shop.items TO File('<out>')",
      "BACKUP DATABASE shop TO Disk('default', 'out')",
      "ALTER TABLE shop.items EXPORT PARTITION ID 'all' TO TABLE FUNCTION file('<out>', 'CSV', 'a Int8')",
    ],
  ],
  [
    'reads a file',
    [
      "SELECT * FROM file('<secret>', 'LineAsString')",
      "SELECT * FROM fileCluster('default', '<secret>', 'LineAsString')",
      "SELECT (SELECT line FROM file('<secret>', LineAsString))",
      "WITH a AS (SELECT * FROM file('<secret>', LineAsString)) SELECT * FROM a",
      "SELECT * FROM view(SELECT * FROM file('<secret>', LineAsString))",
      "SELECT * FROM loop(file('<secret>', LineAsString)) LIMIT 1",
      "CREATE VIEW shop.open AS SELECT * FROM file('<secret>', LineAsString)",
      "CREATE TABLE shop.open AS file('<secret>', LineAsString)",
      "DESCRIBE TABLE file('<secret>')",
      "SELECT file('<secret>')",
      "SELECT `file` /* a */ ('<secret>')",
      'SELECT "fi\\x6ce"(\'<secret>\')',
      "SELECT upper(concat('', file('<secret>')))",
      "CREATE TABLE shop.open (a String DEFAULT file('<secret>')) ENGINE = Memory",
      "ALTER TABLE shop.items ADD COLUMN open String DEFAULT file('<secret>')",
      "ALTER TABLE shop.items UPDATE name = file('<secret>') WHERE 1",
      "SELECT * FROM format(JSONEachRow, 'a String, b String DEFAULT file(\\'<secret>\\')', '{\"a\":\"1\"}')",
      "SELECT * FROM format(JSONEachRow, 'a String, b String ALI' || 'AS file(\\'<secret>\\')', '{\"a\":\"1\"}')",
      "SELECT * FROM format('Values', 'a String', '(file(\\'<secret>\\'))')",
      "SELECT b FROM values('a String, b String ALIAS file(\\'<secret>\\')', ('x'))",
      "WITH 'a String, b String ALIAS file(\\'<secret>\\')' AS columns SELECT b FROM values(columns, ('x'))",
      "SELECT b FROM values((SELECT columns FROM shop.lists), ('x'))",
      "SELECT b FROM generateRandom('a String, b String\\nALIAS file(\\'<secret>\\')') LIMIT 1",
      "SELECT * FROM eval('SELECT file(\\'<secret>\\')') SETTINGS allow_experimental_eval_table_function = 1",
      "SELECT 1 SETTINGS additional_result_filter = 'file(\\'<secret>\\') != \\'\\''",
      "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '<secret>'",
      "SELECT * FROM format(Protobuf, 'a String', 'x') SETTINGS format_schema = '<secret>:a'",
      "INSERT INTO shop.items FROM INFILE '<secret>' FORMAT LineAsString",
      "CREATE DATABASE files ENGINE = Filesystem('<dir>')",
      "CREATE TABLE shop.open (a String) ENGINE = FileLog('<dir>', LineAsString)",
      "CREATE TABLE shop.open (a String) ENGINE = Executable('secret', CSV)",
      "ATTACH TABLE shop.open FROM '<dir>' (a Int8) ENGINE = MergeTree ORDER BY a",
      "CREATE DICTIONARY shop.open (a String) PRIMARY KEY a SOURCE(FILE(path '<secret>' format 'CSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
      "CREATE DICTIONARY shop.open (a String) PRIMARY KEY a SOURCE(EXECUTABLE(command 'cat <secret>' format 'CSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
      "SELECT * FROM icebergLocal('<dir>')",
      "SELECT * FROM sqlite('<secret>', 'a')",
      "SELECT * FROM filesystem('<dir>')",
    ],
  ],
  [
    'reaches other machines',
    [
      "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
      "SELECT * FROM remote('127.0.0.1', system.one)",
      "SELECT * FROM cluster('default', system.one)",
      "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
      "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
      "SELECT * FROM s3('http://127.0.0.1:1/bucket/b.csv')",
      "CREATE DATABASE other ENGINE = PostgreSQL('127.0.0.1:1', 'a', 'b', 'c')",
      "CREATE TABLE shop.other (a Int8) ENGINE = URL('http://127.0.0.1:1/', CSV)",
      "CREATE TABLE shop.other (a String) ENGINE = Kafka('127.0.0.1:1', 'a', 'b', 'JSONEachRow')",
    ],
  ],
  [
    'changes who may do what',
    [
      'CREATE USER someone',
      'GRANT ALL ON *.* TO default',
      'EXECUTE AS default SELECT 1',
      'CREATE FUNCTION one AS () -> 1',
      "CREATE NAMED COLLECTION one AS a = 'b'",
      "RESTORE TABLE shop.items FROM File('<dir>')",
    ],
  ],
])('a statement that %s', (_, statements) => {
  test.each(statements)('is refused: %s', async (statement) => {
    const { status, text } = await send(inPlace(statement));
    expect(status, text).toBeGreaterThanOrEqual(400);
    expect(text).not.toContain(secret);
    expect(text).toMatch(/ACCESS_DENIED|SETTING_CONSTRAINT_VIOLATION|SYNTAX_ERROR|CLUSTER_DOESNT_EXIST/);
    expect(await readdir(outside)).toEqual(['secret']);
  });
});

test('VALUES evaluates no expression that could read a file, and all others', async () => {
  const rows = [
    `(1, file('${join(outside, 'secret')}'))`,
    `(1, /*'*/ "file" /*'*/ ('${join(outside, 'secret')}'))`,
    `(1, (SELECT file('${join(outside, 'secret')}')))`,
    `(1, (SELECT b FROM values('a String, b String ALIAS file(\\'${join(outside, 'secret')}\\')', ('x'))))`,
  ];
  for (const row of rows) {
    expect((await send(`INSERT INTO shop.items VALUES ${row}`)).status).toBeGreaterThanOrEqual(400);
    expect((await send(row, { query: 'INSERT INTO shop.items VALUES' })).status).toBeGreaterThanOrEqual(400);
    const asked = 'INSERT INTO shop.items SETTINGS input_format_values_interpret_expressions = 1 VALUES';
    expect((await send(`${asked} ${row}`)).status).toBeGreaterThanOrEqual(400);
  }
  await send("INSERT INTO shop.items VALUES (7 + 1, concat('a', 'b')), (9, 'a file (9)')");
  await send("INSERT INTO shop.items VALUES (10, 'a file (10)')");
  const { text } = await send('SELECT id, name FROM shop.items ORDER BY id');
  expect(text).not.toContain(secret);
  expect(text).toContain('10\ta file (10)\n');
});

test.each([
  "INSERT INTO FUNCTION null('a Int8') SELECT 1; CREATE TABLE shop.second (a Int8) ENGINE = Memory",
  "INSERT INTO shop.items VALUES (1, 'a'); CREATE TABLE shop.second (a Int8) ENGINE = Memory",
  "INSERT INTO shop.items SELECT 1, 'a';CREATE TABLE shop.second (a Int8) ENGINE = Memory",
  'INSERT INTO shop.items FORMAT JSONEachRow {"id":1};\nCREATE TABLE shop.second (a Int8) ENGINE = Memory',
  'SELECT 1;; CREATE TABLE shop.second (a Int8) ENGINE = Memory',
  'CREATE TABLE shop.second (a Int8) ENGINE = Memory PARALLEL WITH SELECT 1',
])('a second statement never runs: %s', async (statement) => {
  await send(statement);
  const [start = '', ...rest] = statement.split(' ');
  await send(rest.join(' '), { query: start });
  expect((await send('EXISTS TABLE shop.second')).text).toBe('0\n');
});

test.each(['', '0', '00', '+0', '2', '-1', ' 0', '0x0'])(
  'GET with readonly %j writes nothing',
  async (readonly) => {
    const writes = [
      'CREATE TABLE shop.got (a Int8) ENGINE = Memory',
      "INSERT INTO shop.items VALUES (77, '')",
      'SYSTEM STOP MERGES',
      'SYSTEM FLUSH LOGS',
      'TRUNCATE TABLE shop.items',
      "KILL QUERY WHERE query_id = 'x'",
      `SELECT 1 INTO OUTFILE '${join(outside, 'out')}'`,
    ];
    for (const sql of writes)
      expect((await send(sql, { readonly }, 'GET')).status, sql).toBeGreaterThanOrEqual(400);
    expect((await send('EXISTS TABLE shop.got')).text).toBe('0\n');
    await expect(access(join(outside, 'out'))).rejects.toThrow('ENOENT');
  },
);

test.each([
  "SELECT 'SYSTEM KILL', 'INTO OUTFILE', '; DROP TABLE a', 'file(1)' -- INTO OUTFILE 'a'",
  "SELECT format('{} {}', upper('a'), lower('B')) AS file, concat(format('{}', toString(1)), 'a')",
  'SELECT file FROM (SELECT 1 AS file)',
  'SELECT * FROM numbers(3) AS n, (SELECT 1) AS a',
  "SELECT * FROM values('a UInt8, b Nullable(String)', (1, 'x'), (2, NULL))",
  "SELECT * FROM format(JSONEachRow, 'a UInt8', '{\"a\":1}')",
  "SELECT * FROM generateRandom('a UInt8') LIMIT 1",
  'EXPLAIN SELECT 1',
  'SHOW TABLES FROM shop',
  'SHOW CREATE TABLE shop.items',
  'DESCRIBE TABLE shop.items',
  'SELECT count() FROM system.server_settings',
  'CREATE OR REPLACE VIEW shop.seen AS SELECT * FROM shop.items',
  'CREATE MATERIALIZED VIEW IF NOT EXISTS shop.kept ENGINE = MergeTree ORDER BY id AS SELECT id FROM shop.items',
  'ALTER TABLE shop.items ADD COLUMN IF NOT EXISTS at DateTime DEFAULT now()',
  'ALTER TABLE shop.items DELETE WHERE id = 999',
  'DELETE FROM shop.items WHERE id = 999',
  'OPTIMIZE TABLE shop.items FINAL',
  'CHECK TABLE shop.items',
  'SYSTEM FLUSH LOGS',
  'SET max_threads = 1',
  'USE shop',
  '(SELECT 1) UNION ALL (SELECT 2)',
  'WITH 1 AS one SELECT one',
  "KILL QUERY WHERE query_id = 'none'",
])('what stays inside is served: %s', async (statement) => {
  const { status, text } = await send(statement);
  expect(status, text).toBe(200);
});

test('what a setting names may be reached, and no more', async () => {
  const open = { readOnly: false, sources: ['POSTGRES', 'FILE'] as const };
  const as = (canonical: string) => ({ canonical, class: classes.control, count: 1 });
  for (const served of [
    "INSERT INTO FUNCTION postgresql('127.0.0.1:5432', 'a', 'b', 'c', 'd') SELECT 1",
    "CREATE DATABASE other ENGINE = PostgreSQL('127.0.0.1:5432', 'a', 'b', 'c')",
    "SELECT file('a')",
  ])
    expect(() => refuseStatement(as(served), open)).not.toThrow();
  for (const refused of [
    "SELECT 1 INTO OUTFILE 'a'",
    "CREATE TABLE a (a Int8) ENGINE = File('CSV')",
    "CREATE DATABASE other ENGINE = MySQL('127.0.0.1:3306', 'a', 'b', 'c')",
    'SYSTEM KILL',
  ])
    expect(() => refuseStatement(as(refused), open)).toThrow('ACCESS_DENIED');
});

test('what is not SQL is a syntax error, not a name that does not exist', async () => {
  expect(await send('SELEKT')).toMatchObject({ status: 400, code: '62' });
  expect(await send('SELEKT 1')).toMatchObject({ status: 400, code: '62' });
});

/** The engine would work on each for seconds, and take gigabytes, before its limits hold. */
const explosions = {
  doubling: Array.from({ length: 24 }, (_, n) => `x -> f${n}(f${n}(x)) AS f${n + 1}`).reduce(
    (sql, lambda) => `${sql}, ${lambda}`,
    'WITH x -> x + 1 AS f0',
  ),
  nested: Array.from({ length: 60 }).reduce<string>(
    (inner, _, n) => `arrayMap(x${n} -> [${inner}, ${`x${n}+1,`.repeat(60)} 1][1], [1])`,
    '1',
  ),
};

test('lambdas that would grow beyond all limits are refused at once', async () => {
  expect(await send(`${explosions.doubling} SELECT f24(1)`)).toMatchObject({ status: 400, code: '168' });
  expect(await send(`SELECT ${explosions.nested}`)).toMatchObject({ status: 400, code: '167' });
  const usual =
    'WITH (x, y) -> x * y AS area SELECT area(1, 2), arrayMap(x -> arrayMap(y -> x + y, [1]), [2])';
  expect(await send(usual)).toMatchObject({ status: 200, text: '2\t[[3]]\n' });
});
