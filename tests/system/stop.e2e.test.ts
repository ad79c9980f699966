import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { audit, type AuditedSystem } from './audit.js';
import { Load } from './load.js';
import { freePorts, killPrograms, type Program, startProgram, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { fullSize } from './size.js';

const names = ['PORT', 'KAFKA_PORT', 'SCHEMA_REGISTRY_PORT', 'CLICKHOUSE_PORT'] as const;

let folder: string;
let ports: Record<(typeof names)[number], number>;
let http: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-stop-'));
  ports = await freePorts(...names);
  http = `http://127.0.0.1:${ports.PORT}`;
});

afterEach(async () => {
  await killPrograms();
  await rm(folder, { recursive: true, force: true });
});

function start(settings: Record<string, string> = {}): Program {
  const own = Object.fromEntries(names.map((name) => [name, String(ports[name])]));
  return startProgram('cli/main.js', ['up', '--no-demo'], { ...own, DATA_DIR: folder, ...settings });
}

function endpoints(): AuditedSystem {
  return {
    http,
    kafka: [`127.0.0.1:${ports.KAFKA_PORT}`],
    schema_registry: `http://127.0.0.1:${ports.SCHEMA_REGISTRY_PORT}`,
    clickhouse: `http://127.0.0.1:${ports.CLICKHOUSE_PORT}`,
  };
}

/** Free ports of its own for a second process. */
const otherPorts = Object.fromEntries(names.map((name) => [name, '0']));

function linesOf(program: Program): string[] {
  return program
    .output()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('Starting '));
}

describe.each(fullSize ? (['SIGTERM', 'SIGINT'] as const) : (['SIGTERM'] as const))(
  '%s under load',
  (signal) => {
    it('ends with 0 in time, and everything acknowledged is there', { timeout: 90_000 }, async () => {
      let system = start();
      await whenReady(system, http);
      const load = await Load.create({ http, random: seededRandom(2), clients: 50 });
      const loading = load.start();
      const large = Promise.all([load.postEvents(2_000), load.postEvents(2_000)]);
      await vi.waitFor(() => expect(load.accepted.size).toBeGreaterThan(200), {
        timeout: 30_000,
        interval: 5,
      });
      const startedAt = performance.now();
      system.signal(signal);
      expect(await system.exited, system.output()).toBe(0);
      expect(performance.now() - startedAt).toBeLessThan(10_000);
      system = start();
      await whenReady(system, http);
      await large;
      await loading.stop();
      const report = await audit(load, endpoints());
      console.info(signal, JSON.stringify({ ...report, retries: load.retries }));
      expect(report.problems).toEqual([]);
    });
  },
);

it(
  'a second process on the same folder is refused in one line and harms nothing',
  { timeout: 60_000 },
  async () => {
    const first = start();
    await whenReady(first, http);
    const load = await Load.create({ http, random: seededRandom(3), clients: 20 });
    await load.postEvents(500);
    const elsewhere = { CLICKHOUSE_URL: `http://127.0.0.1:${ports.CLICKHOUSE_PORT}` };
    for (const engines of [{}, elsewhere]) {
      const second = start({ ...otherPorts, ...engines });
      expect(await second.exited).toBe(1);
      expect(linesOf(second)).toEqual([
        expect.stringMatching(/data folder .* already, as process \d+\. .*DATA_DIR/),
      ]);
    }
    await load.postEvents(500);
    await first.kill();
    await whenReady(start(), http);
    expect((await audit(load, endpoints())).problems).toEqual([]);
  },
);

describe('what keeps it from starting is one line that names the setting', () => {
  it.each(names)('%s in use', { timeout: 30_000 }, async (name) => {
    const holder = createServer().listen(ports[name], '127.0.0.1');
    await once(holder, 'listening');
    try {
      const system = start();
      expect(await system.exited).toBe(1);
      expect(linesOf(system)).toEqual([
        expect.stringMatching(new RegExp(`^Port ${ports[name]} .*in use.* ${name} `)),
      ]);
    } finally {
      holder.close();
    }
  });

  it('DATA_DIR that is a file', { timeout: 30_000 }, async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    const system = start({ DATA_DIR: file });
    expect(await system.exited).toBe(1);
    expect(linesOf(system)).toEqual([expect.stringMatching(/^The data folder .*DATA_DIR/)]);
  });
});
