import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import {
  freePorts,
  killPrograms,
  startCommand,
  whenReady,
  type Program as Service,
} from '../system/programs.js';
import { describeClient, postgresql } from './installed.js';
import { lines, run } from './program.js';

/** The `sh` blocks of the page, which are run unchanged except for the ports. */
const page = readFileSync(join(packageRoot, 'docs', 'postgresql.md'), 'utf8');
const blocks = [...page.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text);
const [copying = '', starting = '', writing = '', reading = ''] = blocks;

describeClient(postgresql(), (programs) => {
  let folder: string;
  let ports: Record<'http' | 'kafka' | 'registry' | 'clickhouse' | 'postgres', number>;
  let server: Service;
  let millrace: Service;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-postgresql-'));
    ports = await freePorts('http', 'kafka', 'registry', 'clickhouse', 'postgres');
    const password = join(folder, 'password');
    await writeFile(password, 'pw\n');
    const asServer = await serverUser(folder, password);
    const data = ['-D', join(folder, 'postgres')];
    const access = ['-U', 'postgres', `--pwfile=${password}`, '-A', 'scram-sha-256', '--no-sync'];
    execFileSync('env', [...asServer, join(programs, 'initdb'), ...data, ...access], { cwd: folder });
    // A time zone other than that of ClickHouse's times.
    const settings = ['timezone=America/New_York', `unix_socket_directories=${folder}`, 'fsync=off'];
    const place = ['-p', String(ports.postgres), ...settings.flatMap((setting) => ['-c', setting])];
    server = startCommand('env', [...asServer, join(programs, 'postgres'), ...data, ...place], {});
    await vi.waitUntil(() => server.output().includes('ready to accept connections'), {
      timeout: 30_000,
    });
    millrace = startCommand('bash', ['-c', starting], {
      PORT: String(ports.http),
      KAFKA_PORT: String(ports.kafka),
      SCHEMA_REGISTRY_PORT: String(ports.registry),
      CLICKHOUSE_PORT: String(ports.clickhouse),
      DATA_DIR: join(folder, 'millrace'),
    });
    await whenReady(millrace, `http://127.0.0.1:${ports.http}`);
    // The sample events contain rides.
    await vi.waitUntil(async () => (await stored()).length > 1, { timeout: 30_000, interval: 200 });
  }, 240_000);

  afterAll(async () => {
    for (const service of [millrace, server]) {
      service?.signal('SIGINT');
      await service?.exited;
    }
    await killPrograms();
    await rm(folder, { recursive: true, force: true });
  });

  async function shell(text: string): Promise<string> {
    const client = `export PGHOST=127.0.0.1 PGPORT=${ports.postgres} PGUSER=postgres PGPASSWORD=pw`;
    const here = text
      .replaceAll('localhost:8123', `localhost:${ports.clickhouse}`)
      .replaceAll('localhost:5432', `localhost:${ports.postgres}`);
    const { stdout } = await run(['bash', '-euo', 'pipefail', '-c'], [`${client}\n${here}`]);
    expect(stdout).not.toContain('DB::Exception');
    return stdout;
  }

  async function psql(query: string): Promise<string[]> {
    return lines(await shell(`psql -qAt -F ' ' -v ON_ERROR_STOP=1 -c "${query}"`));
  }

  /** The rows in ClickHouse: id, start in seconds since 1970 and fare of each ride. */
  async function stored(): Promise<string[]> {
    const columns = 'trip_id, toUnixTimestamp(assumeNotNull(trip_start_timestamp)), round(fare, 2)';
    const query = `SELECT concatWithSeparator(' ', ${columns}) FROM millrace.ride_predictions`;
    return lines(await shell(`curl -s localhost:8123 -d "${query}"`));
  }

  /** The same rows in PostgreSQL. */
  function copied(): Promise<string[]> {
    return psql(
      'SELECT trip_id, extract(epoch FROM trip_start_timestamp)::bigint, fare FROM ride_predictions ORDER BY trip_id',
    );
  }

  async function expectCopied(): Promise<string[]> {
    const rows = await copied();
    expect(rows.length).toBeGreaterThan(1);
    expect(await stored()).toEqual(expect.arrayContaining(rows));
    return rows;
  }

  test('the page has these commands and no others', () => {
    expect(blocks).toHaveLength(4);
  });

  test('its first commands copy rows, with their times', async () => {
    await shell(copying);
    await expectCopied();
  });

  test('ClickHouse writes the rows that PostgreSQL lacks, any number of times', async () => {
    const [first = ''] = await copied();
    await psql('DELETE FROM ride_predictions WHERE trip_id = (SELECT min(trip_id) FROM ride_predictions)');
    expect(await copied()).not.toContain(first);
    await shell(writing);
    await shell(writing);
    expect(await expectCopied()).toContain(first);
  });

  test('ClickHouse reads PostgreSQL', async () => {
    const ids = (await copied()).map((row) => row.split(' ')[0]);
    const read = lines(await shell(reading)).map((row) => row.split('\t')[0]);
    expect(new Set(read)).toEqual(new Set(ids));
  });
});

/** PostgreSQL does not run as root: as root, it runs as its own user, who gets the files. */
async function serverUser(...files: string[]): Promise<string[]> {
  if (process.getuid?.() !== 0) return [];
  const id = (kind: string): number =>
    Number(execFileSync('id', [kind, 'postgres'], { encoding: 'utf8' }).trim());
  for (const file of files) await chown(file, id('-u'), id('-g'));
  return ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'];
}
