import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { deadLettersCommand } from '../../cli/dead-letters.js';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { packageRoot } from '../../platform/paths.js';
import { deadLetterRecord } from '../../processors/dead-letters/dead-letter.js';
import { resolveDeadLetters } from '../../processors/dead-letters/resolve.js';
import { loadContract } from '../../schemas/contracts.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { schemaIdOf, Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { patience } from './engines/chosen.js';
import { startProgram } from './programs.js';
import { type Finished, runCommand } from './run-command.js';
import { startSystem, type TestSystem } from './start.js';

const client = JSON.parse(
  readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
) as object;
const events = 'credit-default.events';
const patient = { timeout: patience * 60_000 };

interface DeadLetter {
  dead_letter_id: string;
  event_id: string;
  reason: string;
  state: string;
  redriven_before: number;
  value: Record<string, unknown> | null;
}

let folder: string;
let system: TestSystem;
let streams: Streams;
let serde: Serde;
let value: Buffer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-dead-letters-'));
  system = await startSystem({ DATA_DIR: folder });
  const { kafka, schema_registry: url } = system.endpoints;
  streams = createStreams({ brokers: kafka, clientId: 'test', logger: silentLogger });
  serde = new Serde(new SchemaRegistryClient({ url }));
  const { type } = loadContract('credit-default', 'event');
  value = serde.encode(await serde.register(events, type), type, client);
});

afterAll(async () => {
  await streams.close();
  await system.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Runs a command for a user who has only the system's data folder. */
function deadLetters(...args: string[]): Promise<Finished> {
  return runCommand(deadLettersCommand(), args, { DATA_DIR: folder });
}

async function list(...args: string[]): Promise<DeadLetter[]> {
  const { output } = await deadLetters('list', '--json', ...args);
  return (JSON.parse(output) as { dead_letters: DeadLetter[] }).dead_letters;
}

/** The scorer's dead letter for a failing model, such as one that was fixed since. */
async function failFairEvent(eventId: string, bytes = value): Promise<void> {
  const producer = await streams.createProducer();
  const record = {
    topic: events,
    partition: 0,
    offset: 1_000_000 + eventId.length,
    timestamp: Date.UTC(2026, 0, 31, 12),
    key: Buffer.from(eventId),
    value: bytes,
    headers: { ce_id: Buffer.from(eventId) },
  };
  const about = { now: Date.now(), schemaId: schemaIdOf(bytes), eventId };
  const reason = new MillraceError('MODEL_FAILED', 'the model failed on it');
  await producer.send([
    deadLetterRecord('credit-default.dead-letters', 'credit-default', record, reason, about),
  ]);
}

it('an event that failed is scored once after a replay, however often it is replayed', patient, async () => {
  await failFairEvent('mended');
  const [deadLetter] = await list('--reason', 'MODEL_FAILED');
  const id = deadLetter?.dead_letter_id ?? '';
  expect(deadLetter).toMatchObject({ event_id: 'mended', state: 'open', redriven_before: 0 });
  const shown = await deadLetters('show', id, '--json');
  expect((JSON.parse(shown.output) as DeadLetter).value).toMatchObject({ LIMIT_BAL: 90_000, AGE: 34 });

  const redriven = await deadLetters('redrive', id, '--note', 'new model');
  expect(redriven.output).toContain('1 redriven');
  const again = {
    pipeline: 'credit-default',
    kind: 'redriven',
    again: true,
    note: '',
    dryRun: false,
  } as const;
  const filter = { ids: new Set([id]) };
  expect(await resolveDeadLetters(streams, { ...again, filter })).toMatchObject({ done: 1 });

  // They have the same key, so this event is scored after all of them.
  const producer = await streams.createProducer();
  await producer.send([{ topic: events, key: 'mended', value, headers: { ce_id: 'after' } }]);
  const rowsOf = (eventId: string) =>
    system.sql(
      `SELECT event_id, toString(event_time) AS time FROM millrace.predictions WHERE event_id = '${eventId}'`,
    );
  await expect.poll(() => rowsOf('after')).toHaveLength(1);
  // Inserts run at the same time.
  await expect
    .poll(() => rowsOf('mended'))
    .toEqual([{ event_id: 'mended', time: '2026-01-31 12:00:00.000' }]);
  const state = `SELECT resolution, note FROM millrace.dead_letters JOIN millrace.dead_letter_resolutions USING dead_letter_id WHERE event_id = 'mended'`;
  await expect.poll(() => system.sql(state)).toEqual([{ resolution: 'redriven', note: '' }]);
});

it('an event that is JSON is shown and replayed unchanged', patient, async () => {
  await failFairEvent('mended json', Buffer.from(JSON.stringify(client, undefined, 2)));
  const [deadLetter] = await list('--reason', 'MODEL_FAILED');
  const id = deadLetter?.dead_letter_id ?? '';
  const shown = await deadLetters('show', id, '--json');
  expect((JSON.parse(shown.output) as DeadLetter).value).toEqual(client);
  expect((await deadLetters('redrive', id)).output).toContain('1 redriven');
  const rows = `SELECT event_id FROM millrace.predictions WHERE event_id = 'mended json'`;
  await expect.poll(() => system.sql(rows)).toHaveLength(1);
});

it(
  'an event that fails again becomes a new dead letter that says so, and can be discarded',
  patient,
  async () => {
    const producer = await streams.createProducer();
    await producer.send([{ topic: events, key: 'b', value: Buffer.from('bad'), headers: { ce_id: 'bad' } }]);
    const failures = `SELECT event_id FROM millrace.dead_letters WHERE event_id = 'bad'`;
    await expect.poll(() => system.sql(failures)).toHaveLength(1);
    await deadLetters('redrive', '--reason', 'UNDECODABLE', '--since', '1h');
    await expect.poll(() => system.sql(failures)).toHaveLength(2);
    await deadLetters('discard', '--all', '--note', 'garbage');
    const found = await list('--state', 'all', '--reason', 'UNDECODABLE');
    expect(found.map(({ state, redriven_before }) => [state, redriven_before])).toEqual([
      ['discarded', 1],
      ['redriven', 0],
    ]);
  },
);

it.each([
  [['redrive'], /Select dead letters by/],
  [['redrive', '00000000-0000-5000-8000-000000000000'], /no such dead letter/],
  [['show', 'x'], /There is no dead letter x/],
  [['list', '--pipeline', 'other'], /There is no pipeline 'other'/],
  [['list', '--since', 'soon'], /Must be an age such as/],
])('reports the error of %j', async (args, problem) => {
  const { exit, output } = await deadLetters(...args);
  expect(exit).toBe(1);
  expect(output).toMatch(problem);
});

/** The answer of `GET /v1/predictions/{id}` without a prediction. */
async function whyNone(eventId: string): Promise<{ status: number; code?: string; detail?: string }> {
  const response = await system.get(`/v1/predictions/${eventId}`);
  return { ...((await response.json()) as object), status: response.status };
}

function noPrediction(detail: RegExp): object {
  return { status: 404, code: 'PREDICTION_UNKNOWN', detail: expect.stringMatching(detail) as string };
}

it('the prediction of a dead letter is answered with its reason', async () => {
  expect(await whyNone('hopeless')).toMatchObject(noPrediction(/just accepted/));
  const producer = await streams.createProducer();
  const headers = { ce_id: 'hopeless' };
  await producer.send([{ topic: events, key: 'h', value: Buffer.from('{"LIMIT_BAL": 1'), headers }]);
  const deadLetter = noPrediction(
    /^The event 'hopeless' has no prediction: it is a dead letter, JSON_INVALID: ./,
  );
  await expect.poll(() => whyNone('hopeless')).toMatchObject(deadLetter);
});

it('answers SQL', async () => {
  const program = startProgram('cli/main.js', ['sql', 'SELECT 1 AS one, 2'], { DATA_DIR: folder });
  expect(await program.exited).toBe(0);
  expect(program.output()).toBe('1\t2\n');
});
