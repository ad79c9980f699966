import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { audit } from './audit.js';
import { Load } from './load.js';
import { type Program, startCommand, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { fullSize, runsAll } from './size.js';
import { patience, testEngines } from './engines/chosen.js';
import { WholeSystem } from './whole-system.js';

const names = ['PORT', 'KAFKA_PORT', 'SCHEMA_REGISTRY_PORT', 'CLICKHOUSE_PORT'] as const;

let whole: WholeSystem;

beforeEach(async () => {
  whole = await WholeSystem.create();
});

afterEach(() => whole.remove());

/** Processes with embedded engines; in the quick size one of them represents all. */
const ownPorts = {
  embedded: runsAll ? names : (['PORT'] as const),
  'apache-kafka': names.filter((name) => name !== 'KAFKA_PORT'),
  containers: ['PORT'] as const,
}[testEngines];

/** Free ports for a second process. */
const otherPorts = Object.fromEntries(names.map((name) => [name, '0']));

function linesOf(program: Program): string[] {
  return program
    .output()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('Starting '));
}

// Only with the larger suites, to keep npm test short.
describe.runIf(runsAll).each(fullSize ? (['SIGTERM', 'SIGINT'] as const) : (['SIGTERM'] as const))(
  '%s under load',
  (signal) => {
    it(
      'ends with 0 in time, and everything acknowledged is there',
      { timeout: patience * 90_000 },
      async () => {
        let system = whole.start({ STOP_TIMEOUT_MS: String(patience * 14_000) });
        await whenReady(system, whole.http);
        const load = await Load.create({ http: whole.http, random: seededRandom(2), clients: 50 });
        const loading = load.start();
        const large = Promise.all([load.postEvents(2_000), load.postEvents(2_000)]);
        await vi.waitFor(() => expect(load.accepted.size).toBeGreaterThan(200), {
          timeout: patience * 30_000,
          interval: 5,
        });
        system.signal(signal);
        // It would be 1 after STOP_TIMEOUT_MS.
        expect(await system.exited, system.output()).toBe(0);
        system = whole.start();
        await whenReady(system, whole.http);
        await large;
        await loading.stop();
        const report = await audit(load, whole);
        console.info(signal, JSON.stringify({ ...report, retries: load.retries }));
        expect(report.problems).toEqual([]);
      },
    );
  },
);

it.runIf(runsAll)('ends with npm when npm is stopped', { timeout: patience * 60_000 }, async () => {
  const system = startCommand('npm', ['start', '--', '--no-demo'], whole.settings);
  await whenReady(system, whole.http);
  system.signal('SIGTERM');
  // It has ended when all processes started by npm have closed their output.
  await system.exited;
  await expect(fetch(`${whole.http}/health/live`)).rejects.toThrow('fetch failed');
});

it.runIf(runsAll)(
  'a second process on the same folder is refused in one line and does no harm',
  { timeout: patience * 60_000 },
  async () => {
    const first = whole.start();
    await whenReady(first, whole.http);
    const load = await Load.create({ http: whole.http, random: seededRandom(3), clients: 20 });
    await load.postEvents(500);
    const elsewhere = { CLICKHOUSE_URL: whole.clickhouse };
    for (const engines of [{}, elsewhere]) {
      const second = whole.start({ ...otherPorts, ...engines });
      expect(await second.exited).toBe(1);
      expect(linesOf(second)).toEqual([
        expect.stringMatching(/data folder .* in use by process \d+\. .*DATA_DIR/),
      ]);
    }
    await load.postEvents(500);
    await first.kill();
    await whenReady(whole.start(), whole.http);
    expect((await audit(load, whole)).problems).toEqual([]);
  },
);

describe('a startup error is one line that names the setting', () => {
  it.each(ownPorts)('%s in use', { timeout: patience * 30_000 }, async (name) => {
    const holder = createServer().listen(whole.ports[name], '127.0.0.1');
    await once(holder, 'listening');
    try {
      const system = whole.start();
      expect(await system.exited).toBe(1);
      expect(linesOf(system)).toEqual([
        expect.stringMatching(new RegExp(`^Port ${whole.ports[name]} .*in use.* ${name} `)),
      ]);
    } finally {
      holder.close();
    }
  });

  it('DATA_DIR that is a file', { timeout: patience * 30_000 }, async () => {
    const file = join(whole.folder, 'file');
    await writeFile(file, '');
    const system = whole.start({ DATA_DIR: file });
    expect(await system.exited).toBe(1);
    expect(linesOf(system)).toEqual([expect.stringMatching(/^Cannot write to the data folder .*DATA_DIR/)]);
  });
});
