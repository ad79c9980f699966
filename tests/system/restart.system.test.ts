import { afterEach, beforeEach, expect, it } from 'vitest';
import { audit, sql } from './audit.js';
import { patience } from './engines/chosen.js';
import { Load } from './load.js';
import { type Program, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { runsAll } from './size.js';
import { startEnginesApart } from './split-system.js';
import { WholeSystem } from './whole-system.js';

let whole: WholeSystem;

beforeEach(async () => {
  whole = await WholeSystem.create();
});

afterEach(() => whole.remove());

it.runIf(runsAll)(
  'stores the rows of a recreated log, including those at offsets of the old one',
  { timeout: patience * 60_000 },
  async () => {
    const { http } = whole;
    const load = await Load.create({ http, random: seededRandom(5), clients: 1 });
    const start = async (): Promise<Program> => {
      const system = whole.start({ TOPIC_PARTITIONS: '1' });
      await whenReady(system, http);
      return system;
    };
    const countRows = async (): Promise<number> =>
      (await sql(whole.clickhouse, 'SELECT event_id FROM millrace.predictions')).length;

    const first = await start();
    await load.postEvents(1);
    await expect.poll(countRows, { timeout: patience * 10_000 }).toBe(1);
    first.signal('SIGTERM');
    await first.exited;
    await whole.beginLogAnew();
    await start();
    await load.postEvents(1);
    await expect.poll(countRows, { timeout: patience * 10_000 }).toBe(2);
  },
);

it.runIf(runsAll)(
  'starts although a running broker still knows its killed predecessor',
  { timeout: patience * 90_000 },
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
