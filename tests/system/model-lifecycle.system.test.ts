import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import type { ModelState } from '../../models/lifecycle/state.js';
import { openModel } from '../../models/registry.js';
import { writeSummingVersion } from '../../models/testing/summing-version.js';
import { silentLogger } from '../../platform/logger.js';
import { packageRoot } from '../../platform/paths.js';
import { isCanary } from '../../processors/scoring/model-router.js';
import type { Prediction } from '../../schemas/types.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { sql } from './audit.js';
import { patience } from './engines/chosen.js';
import { type Change, type Lives, problemsOf, readLives, streamTimes } from './lifecycle-audit.js';
import { freePorts, startProgram, whenReady } from './programs.js';
import { fullSize, runsAll } from './size.js';
import { type AcceptedEvent, Traffic } from './traffic.js';
import { WholeSystem } from './whole-system.js';

const model = 'credit-default';
const shippedVersion = join(packageRoot, 'models', model, '1');

let whole: WholeSystem;
let modelsDir: string;
let streams: Streams;
let serde: Serde;
let http: string;
let clickhouse: string;
/** Address of each process that scores. */
let scorers: string[];

beforeEach(async () => {
  whole = await WholeSystem.create();
  modelsDir = join(whole.folder, 'models');
});

afterEach(async () => {
  await streams.close();
  await whole.remove();
});

/**
 * The whole system in one process, and scorers in another; version 2 of the model is in the folder of both.
 */
async function startSystem(): Promise<void> {
  const { engines } = whole;
  ({ http, clickhouse } = whole);
  const MODELS_DIR = modelsDir;
  await writeSummingVersion(shippedVersion, join(modelsDir, model, '2'), { version: '2' });
  await whenReady(whole.start({ MODELS_DIR }), http);
  const { OTHER } = await freePorts('OTHER');
  const other = `http://127.0.0.1:${OTHER}`;
  scorers = [http, other];
  const settings = { ...engines, PORT: String(OTHER), MODELS_DIR };
  await whenReady(startProgram('cli/main.js', ['process'], settings), other);
  streams = createStreams({ brokers: whole.kafka, clientId: 'test', logger: silentLogger });
  serde = new Serde(new SchemaRegistryClient({ url: engines.SCHEMA_REGISTRY_URL }));
}

/** Waits until every process serves the state after these alias events. */
async function whenPickedUp({ champion, challenger }: ModelState): Promise<void> {
  const expected = [`champion ${champion?.event}`];
  if (challenger !== undefined) expected.push(`challenger ${challenger.event}`);
  await vi.waitFor(
    async () => {
      for (const scorer of scorers) {
        const metrics = await (await fetch(`${scorer}/metrics`)).text();
        const lines = metrics.matchAll(
          /^millrace_model_event\{model="credit-default",alias="(\w+)",.*\} (\d+)$/gm,
        );
        expect(Array.from(lines, ([, alias, event]) => `${alias} ${event}`)).toEqual(expected);
      }
    },
    { timeout: patience * 20_000, interval: 20 },
  );
}

/** Otherwise a busy machine would score the events of one state only during the next. */
async function whenMostAreScored(events: readonly AcceptedEvent[]): Promise<void> {
  const ids = events.slice(0, 300).map(({ id }) => `'${id}'`);
  const query = `SELECT toUInt32(uniqExact(event_id)) AS scored FROM millrace.predictions WHERE event_id IN (${ids.join()})`;
  await vi.waitFor(
    async () => expect((await sql<{ scored: number }>(clickhouse, query))[0]?.scored).toBeGreaterThan(200),
    { timeout: patience * 30_000, interval: 50 },
  );
}

/** Makes one change after the other while events arrive. */
async function changeUnderLoad(): Promise<{ accepted: AcceptedEvent[]; changes: Change[] }> {
  const lifecycle = await ModelLifecycle.open({ streams, serde, logger: silentLogger, models: [model] });
  const changes: Change[] = [];
  const traffic = await Traffic.start(http, await streams.createProducer(), serde);
  await traffic.since(0, 200);
  const { manifest } = await openModel(modelsDir, model, '2');
  await lifecycle.register(model, { version: '2', digest: manifest.digest }, 'test');
  for (const change of [
    () => lifecycle.promote(model, '2', 'test'),
    () => lifecycle.rollback(model, 'test'),
    () => lifecycle.challenge(model, '2', { shadow: true }, 'test'),
    () => lifecycle.challenge(model, '2', { shadow: true, canaryShare: 0.3 }, 'test'),
    () => lifecycle.challenge(model, '2', { canaryShare: 0.6 }, 'test'),
    () => lifecycle.promote(model, '2', 'test'),
  ]) {
    const state = await change();
    await whenPickedUp(state);
    const pickedUpAt = Date.now();
    changes.push({ at: Math.max(state.champion?.at ?? 0, state.challenger?.at ?? 0), pickedUpAt });
    await traffic.since(pickedUpAt, 300);
    await whenMostAreScored(traffic.accepted.filter(({ sentAt }) => sentAt > pickedUpAt));
  }
  const pickUps = changes.map(({ at, pickedUpAt }) => pickedUpAt - at);
  console.info(`picked up after ${pickUps.join(', ')} ms`);
  // A single one may have to wait for a processor that other programs use.
  if (fullSize) expect(pickUps.toSorted((a, b) => a - b)[pickUps.length >> 1]).toBeLessThan(1_000);
  await traffic.stop();
  await lifecycle.close();
  await vi.waitFor(
    async () => {
      const [row] = await sql<{ answers: number }>(
        clickhouse,
        `SELECT toUInt32(count()) AS answers FROM millrace.predictions WHERE role != 'shadow'`,
      );
      expect(row?.answers).toBe(traffic.accepted.length);
    },
    { timeout: patience * 30_000, interval: 100 },
  );
  return { accepted: traffic.accepted, changes };
}

/**
 * Returns the events sent after all processes had picked up the nth challenge, and scored before the next
 * change.
 */
function eventsUnder(
  challenge: number,
  lives: Lives,
  accepted: AcceptedEvent[],
  changes: Change[],
): AcceptedEvent[] {
  const { aliases } = lives;
  const alias = aliases.filter(({ kind, version }) => kind === 'challenger' && version !== null)[challenge];
  const from = changes.find(({ at }) => at === alias?.at)?.pickedUpAt ?? Number.NaN;
  const to = aliases.find(({ offset }) => offset > (alias?.offset ?? -1))?.at ?? Number.NaN;
  const times = streamTimes(lives, accepted);
  return accepted.filter(({ id, sentAt }) => sentAt > from && (times.get(id) ?? to) < to);
}

test.runIf(runsAll)(
  'versions are promoted, shadowed, tried as canary and rolled back under 500 events a second',
  { timeout: patience * 120_000 },
  async () => {
    await startSystem();
    const { accepted, changes } = await changeUnderLoad();
    const lives = await readLives(streams, serde, model);
    const { predictions, answers, shadows } = lives;
    const roleOf = ({ id }: AcceptedEvent): string | undefined => answers.get(id)?.[0]?.role;

    // None lost, none doubled, each by the version of its time.
    expect(answers.size).toBe(accepted.length);
    const problems = accepted.flatMap((event) =>
      problemsOf(event, lives, changes).map((each) => `${event.id} ${each}`),
    );
    expect(problems.slice(0, 10)).toEqual([]);
    expect(await sql(clickhouse, 'SELECT * FROM millrace.dead_letters')).toEqual([]);

    // The challenger answers its share of the keys and no others, and shadows the rest.
    for (const [index, { share, shadow }] of [
      { share: 0, shadow: true },
      { share: 0.3, shadow: true },
      { share: 0.6, shadow: false },
    ].entries()) {
      const events = eventsUnder(index, lives, accepted, changes);
      expect(events.length).toBeGreaterThan(100);
      for (const event of events) {
        const isItsKey = isCanary(event.key, model, share);
        expect(roleOf(event), event.id).toBe(isItsKey ? 'canary' : 'champion');
        expect(shadows.get(event.id)?.length ?? 0, event.id).toBe(shadow && !isItsKey ? 1 : 0);
      }
    }
    const ofClients = eventsUnder(2, lives, accepted, changes).filter(({ key }) => key.startsWith('client-'));
    const versions = new Set(ofClients.map((event) => `${event.key} ${roleOf(event)}`));
    expect(versions.size).toBe(new Set(ofClients.map(({ key }) => key)).size);
    expect(new Set(ofClients.map(roleOf)).size).toBe(2);
    for (const [shadow] of shadows.values()) expect(shadow?.model_version).toBe('2');

    // In SQL: the rows match the log, and each finds its alias event.
    expect(new Set(predictions.map(({ prediction_id: id }) => id)).size).toBe(predictions.length);
    const [rows] = await sql<{ count: number; astray: number }>(
      clickhouse,
      `SELECT toUInt32(count()) AS count, toUInt32(countIf(e.version != p.model_version OR e.digest != p.model_digest OR e.at != p.model_event_at)) AS astray
       FROM millrace.predictions AS p LEFT JOIN millrace.model_events AS e ON e.model_event = p.model_event`,
    );
    expect(rows).toEqual({ count: predictions.length, astray: 0 });

    // Over HTTP: a shadow is no answer, and the state is visible.
    const shadowed = [...shadows.keys()].at(-1) ?? '';
    const found = (await (await fetch(`${http}/v1/predictions/${shadowed}`)).json()) as Prediction;
    expect(found.prediction_id).toBe(answers.get(shadowed)?.[0]?.prediction_id);
    const { models } = (await (await fetch(`${http}/v1/models`)).json()) as {
      models: { name: string }[];
    };
    expect(models.filter(({ name }) => name === model)).toMatchObject([
      { version: '1', serving: false, aliases: [] },
      { version: '2', serving: true, aliases: [{ alias: 'champion', previous_version: '1' }] },
    ]);
  },
);
