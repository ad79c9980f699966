import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { avroType, loadContract } from '../../schemas/contracts.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams } from '../../streams/streams.js';
import { audit, sql } from './audit.js';
import { patience } from './engines/chosen.js';
import { Load } from './load.js';
import { type Program, readiness, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { runsAll, sized } from './size.js';
import { type Engines, startEnginesApart } from './split-system.js';

const outageMs = sized('MILLRACE_OUTAGE_SECONDS', { quick: 1, full: 60 }) * 1000;
const hangMs = Math.min(outageMs, 10_000);
const requestTimeoutMs = 2_000;
const settings = {
  KAFKA_SESSION_TIMEOUT_MS: '6000',
  STOP_TIMEOUT_MS: '9000',
};
const timeout = patience * (90_000 + 3 * outageMs);

let engines: Engines;
let system: Program;
let load: Load;

beforeEach(async () => {
  engines = await startEnginesApart();
  load = await Load.create({ http: engines.http, random: seededRandom(1), clients: 50 });
});

afterEach(async () => {
  await engines.stop();
});

async function start(timeoutMs = requestTimeoutMs): Promise<void> {
  system = engines.startMillrace(['up', '--no-demo'], {
    ...settings,
    REQUEST_TIMEOUT_MS: String(timeoutMs),
  });
  await whenReady(system, engines.http);
}

/** Under load: stops an engine until readiness reports it and for some time after, and starts it again. */
async function ride(
  part: string,
  {
    takeAway,
    bringBack,
    meanwhile,
    lastingMs = outageMs,
  }: {
    takeAway: () => unknown;
    bringBack: () => unknown;
    meanwhile?: () => Promise<void>;
    lastingMs?: number;
  },
): Promise<void> {
  const loading = load.start();
  await whenAcceptedMore(100);
  await takeAway();
  await vi.waitFor(
    async () => {
      const { parts } = await readiness(engines.http);
      expect(parts[part]?.status, JSON.stringify(parts)).toBe('down');
    },
    { timeout: patience * 20_000, interval: 100 },
  );
  await meanwhile?.();
  await sleep(lastingMs);
  await bringBack();
  await whenReady(system, engines.http);
  await whenAcceptedMore(100);
  await loading.stop();
  const report = await audit(load, engines);
  console.info(part, JSON.stringify({ ...report, retries: load.retries, refusals: load.refusals.length }));
  expect(report.problems).toEqual([]);
  expect(system.hasExited()).toBe(false);
  system.signal('SIGTERM');
  expect(await system.exited, system.output()).toBe(0);
}

async function whenAcceptedMore(count: number): Promise<void> {
  const wanted = load.accepted.size + count;
  await vi.waitFor(() => expect(load.accepted.size).toBeGreaterThanOrEqual(wanted), {
    timeout: patience * 60_000,
    interval: 20,
  });
}

describe.runIf(runsAll)('ClickHouse', () => {
  // No request fails for a busy processor, so each refusal is a fault.
  beforeEach(() => start(10_000));

  it('is killed: events and predictions continue, rows come later', { timeout }, async () => {
    await ride('clickhouse', {
      takeAway: () => engines.clickHouse.kill(),
      meanwhile: async () => {
        await whenAcceptedMore(200);
        expect(load.refusals).toEqual([]);
      },
      bringBack: () => engines.clickHouse.restart(),
    });
  });

  it('hangs: events and predictions continue, rows come later', { timeout }, async () => {
    await ride('clickhouse', {
      lastingMs: hangMs,
      takeAway: () => engines.clickHouse.pause(),
      meanwhile: async () => {
        await whenAcceptedMore(200);
        expect(load.refusals).toEqual([]);
      },
      bringBack: () => engines.clickHouse.resume(),
    });
  });
});

describe.runIf(runsAll)('the schema registry', () => {
  beforeEach(() => start());

  /** Records with a new schema wait until the registry is back, while others are answered. */
  async function rideWithNewSchema(
    takeAway: () => unknown,
    bringBack: () => unknown,
    lastingMs: number,
  ): Promise<void> {
    const eventIds = Array.from({ length: 30 }, () => `new-schema-${randomUUID()}`);
    await ride('registry', {
      lastingMs,
      takeAway,
      meanwhile: async () => {
        await produceWithNewSchema(eventIds);
        await whenAcceptedMore(200);
      },
      bringBack,
    });
    const list = eventIds.map((id) => `'${id}'`).join(',');
    const query = `SELECT event_id FROM millrace.predictions WHERE event_id IN (${list})`;
    expect(await sql(engines.clickhouse, query)).toHaveLength(eventIds.length);
  }

  it('is killed: records with a new schema wait for it', { timeout }, async () => {
    const { registryProxy } = engines;
    await rideWithNewSchema(
      () => registryProxy.close(),
      () => registryProxy.open(),
      outageMs,
    );
  });

  it('hangs: records with a new schema wait for it', { timeout }, async () => {
    const { registryProxy } = engines;
    const bringBack = async (): Promise<void> => {
      await registryProxy.close();
      await registryProxy.open();
    };
    await rideWithNewSchema(() => registryProxy.hang(), bringBack, hangMs);
  });
});

/** Writes events to the log as another program with a newer contract would; it reaches the registry. */
async function produceWithNewSchema(eventIds: string[]): Promise<void> {
  const topic = 'credit-default.events';
  const { schema } = loadContract('credit-default', 'event');
  const newer = avroType({
    ...schema,
    fields: [...schema.fields, { name: 'note', type: ['null', 'string'], default: null }],
  } as Parameters<typeof avroType>[0]);
  const serde = new Serde(new SchemaRegistryClient({ url: engines.schema_registry }));
  const schemaId = await serde.register(topic, newer);
  const streams = createStreams({ brokers: engines.kafka, clientId: 'other', logger: silentLogger });
  const producer = await streams.createProducer();
  const records = eventIds.map((id, index) => {
    const client = load.clients[index % load.clients.length];
    load.chosen.set(id, index % load.clients.length);
    load.accepted.set(id, index % load.clients.length);
    const value = serde.encode(schemaId, newer, { ...client, note: null });
    return { topic, key: id, value, headers: { ce_id: id } };
  });
  await producer.send(records);
  await streams.close();
}

describe.runIf(runsAll)('the broker', () => {
  beforeEach(() => start());

  /** Requests are refused in time, as problem details that say when to retry. */
  async function expectRefusals(): Promise<void> {
    await vi.waitFor(() => expect(load.refusals.length).toBeGreaterThanOrEqual(2), {
      timeout: patience * 20_000,
    });
    for (const { body, retryAfter } of load.refusals) {
      expect(body).toMatchObject({ status: 503, code: expect.stringMatching(/^(LOG|REQUEST)_/) as string });
      expect(Number(retryAfter)).toBeGreaterThan(0);
    }
    // A single one may have to wait for a busy processor.
    const durations = load.refusals.map(({ ms }) => ms).toSorted((a, b) => a - b);
    expect(durations[durations.length >> 1]).toBeLessThan(requestTimeoutMs + 1_000);
    expect(durations.at(-1)).toBeLessThan(requestTimeoutMs + 10_000);
  }

  it('is killed: requests are refused in time, and nothing acknowledged is lost', { timeout }, async () => {
    await ride('log', {
      takeAway: () => engines.log.kill(),
      meanwhile: expectRefusals,
      bringBack: () => engines.log.restart(),
    });
  });

  it('hangs: requests are refused in time, and nothing acknowledged is lost', { timeout }, async () => {
    await ride('log', {
      lastingMs: hangMs,
      takeAway: () => engines.log.pause(),
      meanwhile: expectRefusals,
      bringBack: () => engines.log.resume(),
    });
  });

  it(
    'hangs: Millrace still ends in time, and later finishes the work that was in flight',
    { timeout },
    async () => {
      await load.postEvents(1_000);
      await engines.log.pause();
      const waiting = load.postEvents(10);
      system.signal('SIGTERM');
      expect(await system.exited).toBe(1);
      expect(system.output()).toContain('Not stopped after 9 s');
      await engines.log.resume();
      await start();
      await waiting;
      expect((await audit(load, engines)).problems).toEqual([]);
    },
  );
});
