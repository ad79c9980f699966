import { once } from 'node:events';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Load } from './load.js';
import { freePorts, type Program, readiness, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { fullSize, runsAll } from './size.js';
import { startEnginesApart } from './split-system.js';

const timeout = 60_000;
const all = ['serve', 'process', 'sink', 'schedule'] as const;

let engines: Awaited<ReturnType<typeof startEnginesApart>>;

beforeAll(async () => {
  engines = await startEnginesApart();
});

afterAll(async () => {
  await engines.stop();
});

interface Started {
  program: Program;
  http: string;
}

async function start(role: string, settings: Record<string, string> = {}): Promise<Started> {
  const { PORT } = await freePorts('PORT');
  const program = engines.startMillrace([role], { PORT: String(PORT), ...settings });
  return { program, http: `http://127.0.0.1:${PORT}` };
}

async function startReady(role: string, settings: Record<string, string> = {}): Promise<Started> {
  const started = await start(role, settings);
  await whenReady(started.program, started.http);
  return started;
}

async function statusOf(url: string): Promise<number> {
  return (await fetch(url)).status;
}

async function expectExit({ program }: Started, code: number): Promise<void> {
  expect(await program.exited, program.output()).toBe(code);
}

describe.each(fullSize ? all : (['process'] as const))('%s', (role) => {
  it('shows metrics, and ends with 0 on SIGTERM', { timeout }, async () => {
    const started = await startReady(role, { STOP_DELAY_MS: '0' });
    expect(await statusOf(`${started.http}/health/live`)).toBe(200);
    expect(await (await fetch(`${started.http}/metrics`)).text()).toContain('process_cpu_seconds_total');
    started.program.signal('SIGTERM');
    await expectExit(started, 0);
  });
});

it.runIf(runsAll)(
  'serve finishes requests in flight, and accepts more until the load balancer has noticed',
  { timeout },
  async () => {
    const started = await startReady('serve', { STOP_DELAY_MS: '10000' });
    const { http, program } = started;
    const underWay = request(`${http}/v1/pipelines/credit-default/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson', 'transfer-encoding': 'chunked' },
    });
    underWay.flushHeaders();
    program.signal('SIGTERM');
    await expect
      .poll(() => readiness(http))
      .toMatchObject({ status: 'down', parts: { process: { detail: 'stopping' } } });
    expect(await statusOf(`${http}/health/live`)).toBe(200);
    expect(await statusOf(`${http}/v1/pipelines`)).toBe(200);
    await expect.poll(() => fetch(`${http}/v1/pipelines`).catch(() => 'refused')).toBe('refused');
    expect(program.hasExited()).toBe(false);
    underWay.end(JSON.stringify(await sample()));
    const [response] = (await once(underWay, 'response')) as [{ statusCode: number; resume: () => void }];
    response.resume();
    expect(response.statusCode).toBe(202);
    await expectExit(started, 0);
  },
);

async function sample(): Promise<object> {
  const load = await Load.create({ http: engines.http, random: seededRandom(6), clients: 1 });
  return load.clients[0] ?? {};
}

describe.runIf(runsAll)('a stop that takes too long', () => {
  it('ends with 1 after STOP_TIMEOUT_MS', { timeout }, async () => {
    const started = await startReady('serve', { STOP_TIMEOUT_MS: '1500', STOP_DELAY_MS: '1400' });
    await holdRequest(started.http);
    const startedAt = performance.now();
    started.program.signal('SIGTERM');
    await expectExit(started, 1);
    expect(started.program.output()).toContain('Not stopped after 1.5 s');
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  it('ends at once on a second signal', { timeout }, async () => {
    const started = await startReady('serve', { STOP_DELAY_MS: '20000' });
    started.program.signal('SIGTERM');
    await expect.poll(async () => (await readiness(started.http)).status).toBe('down');
    // Until it counts as a second signal.
    await vi.waitFor(
      () => {
        started.program.signal('SIGTERM');
        expect(started.program.hasExited()).toBe(true);
      },
      { timeout: 10_000, interval: 200 },
    );
    await expectExit(started, 130);
  });
});

/** Starts a request that does not end. */
async function holdRequest(http: string): Promise<void> {
  const held = request(`${http}/v1/pipelines/credit-default/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-length': 1000 },
  });
  held.on('error', () => undefined);
  held.write('[');
  await new Promise<void>((resolve) => {
    held.on('socket', (socket) => {
      if (socket.connecting) socket.once('connect', resolve);
      else resolve();
    });
  });
}

describe.runIf(runsAll)('while engines are unavailable', () => {
  it.each(fullSize ? all : (['serve'] as const))(
    '%s waits, reports it, and is alive; it starts when they are back',
    { timeout },
    async (role) => {
      await engines.log.kill();
      const started = await start(role, { STOP_DELAY_MS: '0' });
      const { http } = started;
      await vi.waitFor(
        async () =>
          expect(await readiness(http)).toMatchObject({
            status: 'down',
            parts: { process: { detail: 'starting' }, log: { status: 'down' } },
          }),
        { timeout: 20_000, interval: 50 },
      );
      expect(await statusOf(`${http}/health/live`)).toBe(200);
      expect(await statusOf(`${http}/metrics`)).toBe(200);
      if (role === 'serve') expect(await statusOf(`${http}/v1/pipelines`)).toBe(503);
      await engines.log.restart();
      await whenReady(started.program, http);
      started.program.signal('SIGTERM');
      await expectExit(started, 0);
    },
  );

  it('SIGTERM ends the wait with 0', { timeout }, async () => {
    const started = await start('process', { KAFKA_BROKERS: '127.0.0.1:9' });
    await vi.waitFor(async () => expect((await readiness(started.http)).parts['process']).toBeDefined(), {
      timeout: 20_000,
      interval: 50,
    });
    started.program.signal('SIGTERM');
    await expectExit(started, 0);
    expect(started.program.output()).toContain('Stopped during the start.');
  });
});

describe.runIf(runsAll)('a permanent error ends it with 1 and one line', () => {
  it('a port in use', { timeout }, async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    const { program } = await start('process', { PORT: String(port) });
    expect(await program.exited).toBe(1);
    expect(program.output().trim()).toMatch(new RegExp(`^Port ${port} .*in use.* PORT [^\n]*$`));
    holder.close();
  });

  it.each([
    ['process', { KAFKA_BROKERS: '' }, 'KAFKA_BROKERS'],
    ['bridge', {}, 'RABBITMQ_URL'],
  ])('%s without a required setting', { timeout }, async (role, settings, missing) => {
    const { program } = await start(role, settings);
    expect(await program.exited).toBe(1);
    expect(program.output().trim()).toMatch(new RegExp(`^A single role needs ${missing}\\.[^\n]*$`));
  });

  it('an invalid setting', { timeout }, async () => {
    const { program } = await start('process', { STOP_TIMEOUT_MS: 'soon' });
    expect(await program.exited).toBe(1);
    expect(program.output()).toMatch(/^Wrong settings:\n {2}STOP_TIMEOUT_MS is "soon": /);
  });
});
