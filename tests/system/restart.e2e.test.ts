import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { audit, sql } from './audit.js';
import { Load } from './load.js';
import { freePorts, killPrograms, type Program, startProgram, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { fullSize } from './size.js';
import { startEnginesApart } from './split-system.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-restart-'));
});

afterEach(async () => {
  await killPrograms();
  await rm(folder, { recursive: true, force: true });
});

it(
  'stores the rows of a log that was begun anew, at places that the old one had too',
  { timeout: 60_000 },
  async () => {
    const ports = await freePorts('PORT', 'KAFKA_PORT', 'SCHEMA_REGISTRY_PORT', 'CLICKHOUSE_PORT');
    const settings = Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, String(port)]));
    const http = `http://127.0.0.1:${ports.PORT}`;
    const load = await Load.create({ http, random: seededRandom(5), clients: 1 });
    const start = async (): Promise<Program> => {
      const system = startProgram('cli/main.js', ['up', '--no-demo'], {
        ...settings,
        DATA_DIR: folder,
        TOPIC_PARTITIONS: '1',
      });
      await whenReady(system, http);
      return system;
    };
    const countRows = async (): Promise<number> =>
      (await sql(`http://127.0.0.1:${ports.CLICKHOUSE_PORT}`, 'SELECT event_id FROM millrace.predictions'))
        .length;

    const first = await start();
    await load.postEvents(1);
    await expect.poll(countRows, { timeout: 10_000 }).toBe(1);
    first.signal('SIGTERM');
    await first.exited;
    await rm(join(folder, 'log'), { recursive: true });
    await start();
    await load.postEvents(1);
    await expect.poll(countRows, { timeout: 10_000 }).toBe(2);
  },
);

it.runIf(fullSize)(
  'comes up beside the memory that a running broker has of its killed predecessor',
  { timeout: 90_000 },
  async () => {
    const engines = await startEnginesApart();
    try {
      const session = { KAFKA_SESSION_TIMEOUT_MS: '6000' };
      const system = engines.startMillrace(['up', '--no-demo'], session);
      await whenReady(system, engines.http);
      const load = await Load.create({ http: engines.http, random: seededRandom(6), clients: 20 });
      await load.postEvents(500);
      await system.kill();
      await whenReady(engines.startMillrace(['up', '--no-demo'], session), engines.http);
      expect((await audit(load, engines)).problems).toEqual([]);
    } finally {
      await engines.stop();
    }
  },
);
