/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import type { ClickHouseClient } from '@clickhouse/client';
import { beforeEach, describe, expect, test } from 'vitest';
import { rowsOfColumns } from '../../analytics/testing/rows-of-columns.js';
import type { ColumnInsert } from '../../platform/column-insert.js';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { avroType, loadContract, loadContractVersions } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { deadLetterRecord, readDeadLetter, openDeadLetter } from '../dead-letters/dead-letter.js';
import { resolutionRecord } from '../dead-letters/resolutions.js';
import { positionEventId } from '../events/ids.js';
import { FakeLog, toStreamRecord } from '../testing/fake-log.js';
import { toPredictionRow } from '../scoring/prediction.js';
import { openToyPipeline, type ToyPipeline } from '../testing/toy-pipeline.js';
import { Sink } from './sink.js';

interface Insert {
  table: string;
  values: Record<string, unknown>[];
  clickhouse_settings: { insert_deduplication_token: string };
}

const at = Date.UTC(2026, 0, 31, 12);
const [outcome, modelEvent] = [loadContract('shared', 'outcome'), loadContract('shared', 'model-event')];
const prediction: Prediction = {
  prediction_id: '00000000-0000-5000-8000-000000000001',
  event_id: 'e',
  pipeline: 'toy',
  model: 'toy',
  model_version: '1',
  model_digest: '0'.repeat(64),
  event_time: at,
  predicted_at: at,
  score: 3,
  label: 'low',
  features: '{"a":1,"b":2}',
  source: 'test',
  topic: 'toy.events',
  partition: 0,
  offset: 7,
  schema_id: 1,
  latency_ms: 5,
  role: 'champion',
  model_event: 1,
  model_event_at: at,
  outputs: '{"sum":3}',
};

let toy: ToyPipeline;
let log: FakeLog;
let sink: Sink;
let inserts: Insert[];
/** Throws ClickHouse's error for an insert, if it has one. */
let check: (insert: Insert) => void;

beforeEach(async () => {
  toy = await openToyPipeline();
  log = new FakeLog();
  inserts = [];
  check = () => undefined;
  const store = (insert: Insert) => {
    check(insert);
    inserts.push(insert);
    return Promise.resolve();
  };
  const client = { insert: store } as unknown as ClickHouseClient;
  const insertColumns = ({ table, columns, settings }: ColumnInsert) => {
    const clickhouse_settings = settings as Insert['clickhouse_settings'];
    return store({ table, values: rowsOfColumns(columns), clickhouse_settings });
  };
  const analytics = { client, insertColumns };
  const { serde, metrics } = toy;
  const contracts = { prediction: toy.pipeline.prediction, outcome, modelEvent };
  const options = {
    ...contracts,
    pipelines: ['toy'],
    analytics,
    serde,
    producer: log,
    metrics,
    now: () => at,
  };
  sink = new Sink({ ...options, logger: silentLogger });
});

let offset = 0;
const record = (topic: string, value: Buffer | null, headers: NewRecord['headers'] = {}): StreamRecord =>
  toStreamRecord({ topic, key: 'k', value, headers }, offset++);

const predictionRecord = (changes: Partial<Prediction> = {}): StreamRecord => {
  const { schemaId, type } = toy.pipeline.prediction;
  return record('toy.predictions', toy.serde.encode(schemaId, type, { ...prediction, ...changes }));
};

const deadLetterOf = (failed: StreamRecord): StreamRecord => {
  const about = { now: at, schemaId: 4, eventId: 'failed' };
  const reason = new MillraceError('UNDECODABLE', 'It is garbage.');
  return toStreamRecord(deadLetterRecord('toy.dead-letters', 'toy', failed, reason, about), offset++);
};

const rowsOf = (table: string) =>
  inserts.filter((insert) => insert.table === `millrace.${table}_storage`).flatMap(({ values }) => values);
const deadLetters = () => log.read('toy.dead-letters').map((each) => readDeadLetter(each, 'toy'));

describe('rows', () => {
  test('of predictions, in one insert a batch, have the positions of their events', async () => {
    await sink.store([predictionRecord({ event_id: 'a' }), predictionRecord({ event_id: 'b' })]);
    expect(inserts).toHaveLength(1);
    expect(rowsOf('predictions')).toMatchObject([
      { event_id: 'a', score: 3, topic: 'toy.events', offset: 7, event_time: '2026-01-31T12:00:00.000Z' },
      { event_id: 'b' },
    ]);
    expect(rowsOf('predictions')).toMatchObject([{ outputs: '{"sum":3}' }, { outputs: '{"sum":3}' }]);
    expect((await toy.metrics.sinkRows.get()).values).toMatchObject([
      { labels: { table: 'predictions' }, value: 2 },
    ]);
  });

  test('of predictions in every version of the contract, and of other producers, are the same', async () => {
    const { serde } = toy;
    const types = loadContractVersions('shared', 'prediction').map(({ type }) => type);
    const schema = types.at(-1)?.schema() as { fields: object[] };
    const reversed = avroType({ ...schema, fields: schema.fields.toReversed() } as never);
    const records: StreamRecord[] = [];
    for (const [version, type] of [...types, reversed].entries()) {
      const id = await serde.register(`other-${version}.predictions`, type);
      const value = serde.encode(id, type, { ...prediction, event_id: String(version) });
      records.push(record('toy.predictions', Buffer.from(value)));
    }
    await sink.store(records);
    const rows = rowsOf('predictions').toSorted((a, b) => Number(a['event_id']) - Number(b['event_id']));
    const missing = [
      { role: 'champion', model_event: -1, model_event_at: null, outputs: '{}' },
      { outputs: '{}' },
      {},
      {},
    ];
    expect(rows).toEqual(
      missing.map((defaults, version) => ({
        ...toPredictionRow(prediction),
        event_id: String(version),
        ...defaults,
      })),
    );
  });

  test('of predictions whose texts are no UTF-8 have a replacement, as all readers of the log', async () => {
    const bad = predictionRecord({ event_id: 'x1' });
    bad.value?.set([0xff], bad.value.indexOf('x1') + 1);
    await sink.store([predictionRecord(), bad]);
    expect(rowsOf('predictions')).toMatchObject([{ event_id: 'e' }, { event_id: 'x\ufffd' }]);
  });

  test('of predictions of an earlier release have no outputs', async () => {
    await sink.store([predictionRecord({ outputs: null })]);
    expect(rowsOf('predictions')).toMatchObject([{ event_id: 'e', outputs: '{}' }]);
  });

  test('of dead letters have the bytes that failed, and those of resolutions the outcome', async () => {
    const deadLetter = deadLetterOf(record('toy.events', Buffer.from([0xff, 0])));
    const stored = openDeadLetter(deadLetter, 'toy');
    const resolution = resolutionRecord(stored, { kind: 'redriven', note: 'why', now: at });
    await sink.store([deadLetter, toStreamRecord(resolution)]);
    expect(rowsOf('dead_letters')).toMatchObject([
      {
        dead_letter_id: stored.id,
        reason: 'UNDECODABLE',
        detail: 'It is garbage.',
        topic: 'toy.events',
        schema_id: 4,
        event_id: 'failed',
        value_base64: Buffer.from([0xff, 0]).toString('base64'),
      },
    ]);
    expect(rowsOf('dead_letter_resolutions')).toMatchObject([
      { dead_letter_id: stored.id, pipeline: 'toy', resolution: 'redriven', note: 'why' },
    ]);
  });

  test('of outcomes come from Avro and from JSON that fits the contract', async () => {
    const id = await toy.serde.register('toy.outcomes', outcome.type);
    const value = toy.serde.encode(id, outcome.type, { event_id: 'avro', outcome: 1, observed_at: at });
    const json = { event_id: 'json', outcome: 0, observed_at: '2026-01-31T12:00:00Z' };
    await sink.store([
      record('toy.outcomes', value),
      record('toy.outcomes', Buffer.from(JSON.stringify(json))),
      record('toy.outcomes', Buffer.from(JSON.stringify({ ...json, outcome: 'paid' }))),
    ]);
    const observed_at = '2026-01-31T12:00:00.000Z';
    expect(rowsOf('outcomes')).toMatchObject([
      { event_id: 'avro', outcome: 1, observed_at },
      { event_id: 'json', outcome: 0, observed_at },
    ]);
    expect(deadLetters()).toMatchObject([{ reason: 'EVENT_INVALID', detail: 'outcome must be a number' }]);
  });

  test('of outcomes wait for the batches before, as the last one stored counts', async () => {
    let release = (): void => undefined;
    const earlier = new Promise<void>((resolve) => (release = resolve));
    const json = { event_id: 'json', outcome: 0, observed_at: '2026-01-31T12:00:00Z' };
    const storing = sink.store(
      [predictionRecord(), record('toy.outcomes', Buffer.from(JSON.stringify(json)))],
      earlier,
    );
    await expect.poll(() => inserts.length).toBe(1);
    expect(rowsOf('outcomes')).toEqual([]);
    release();
    await storing;
    expect(rowsOf('outcomes')).toHaveLength(1);
  });

  test('are stored again under the same token for the same batch, for ClickHouse to skip', async () => {
    const batch = [predictionRecord()];
    await sink.store(batch);
    await sink.store(batch);
    await sink.store([predictionRecord()]);
    const [first, again, other] = inserts.map(
      (insert) => insert.clickhouse_settings.insert_deduplication_token,
    );
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });
});

describe('records that fit no row', () => {
  test('of predictions become dead letters of their events if those are readable', async () => {
    const garbage = record('toy.predictions', Buffer.from('garbage'));
    await sink.store([predictionRecord({ event_id: 'late', event_time: 9e15 }), garbage, predictionRecord()]);
    expect(rowsOf('predictions')).toMatchObject([{ event_id: 'e' }]);
    expect(deadLetters()).toMatchObject([
      { reason: 'ROW_INVALID', eventId: 'late', topic: 'toy.predictions' },
      { reason: 'UNDECODABLE', eventId: positionEventId(garbage), offset: garbage.offset },
    ]);
    expect(log.read('toy.dead-letters')[1]?.value).toEqual(garbage.value);
  });

  test('of dead letters, resolutions and models make no further dead letters', async () => {
    await sink.store([
      record('millrace.models', Buffer.from('garbage')),
      record('toy.dead-letters', null, { 'dead-letter-resolution': 'forged' }),
      predictionRecord(),
    ]);
    expect(log.read('toy.dead-letters')).toEqual([]);
    expect(rowsOf('predictions')).toHaveLength(1);
  });

  test('and come from others on the dead-letter topic get their own position and the reason UNKNOWN', async () => {
    const forged = record('toy.dead-letters', Buffer.from('x'), {
      'dead-letter-failed-at': '9007199254740991',
    });
    await sink.store([forged]);
    expect(rowsOf('dead_letters')).toMatchObject([
      { reason: 'UNKNOWN', topic: 'toy.dead-letters', offset: forged.offset },
    ]);
  });

  test('are found by halving when ClickHouse refuses a batch', async () => {
    const batch = ['a', 'b', 'bad', 'c'].map((event_id) => predictionRecord({ event_id }));
    check = ({ values }) => {
      if (values.some(({ event_id }) => event_id === 'bad'))
        throw Object.assign(new Error('Cannot parse input'), {
          code: '27',
          type: 'CANNOT_PARSE_INPUT_ASSERTION_FAILED',
        });
    };
    await sink.store(batch);
    expect(rowsOf('predictions').map(({ event_id }) => event_id)).toEqual(['a', 'b', 'c']);
    expect(deadLetters()).toMatchObject([{ reason: 'CLICKHOUSE_BAD_ROWS', eventId: 'bad' }]);
  });

  test('with a forged score that is no number are dead letters, and the others are stored', async () => {
    await sink.store([predictionRecord({ event_id: 'nan', score: Number.NaN }), predictionRecord()]);
    expect(rowsOf('predictions').map(({ event_id }) => event_id)).toEqual(['e']);
    expect(deadLetters()).toMatchObject([{ eventId: 'nan' }]);
  });
});

describe('a transient failure', () => {
  test('of ClickHouse rejects the call, makes no dead letter, and the same call stores it later', async () => {
    check = () => {
      throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    };
    const batch = [predictionRecord()];
    await expect(sink.store(batch)).rejects.toMatchObject({ retriable: true });
    expect(log.read('toy.dead-letters')).toEqual([]);
    expect((await toy.metrics.sinkFailures.get()).values).toMatchObject([{ value: 1 }]);
    check = () => undefined;
    await sink.store(batch);
    expect(rowsOf('predictions')).toHaveLength(1);
  });

  test('does not include a dead letter too large for the log: it is written shrunk, then as small as possible', async () => {
    const sizes: number[] = [];
    log.refuse = ({ value }) => {
      sizes.push(value?.length ?? 0);
      return (value?.length ?? 0) > 1_000 ? new MillraceError('RECORD_TOO_LARGE', 'Too large.') : undefined;
    };
    await sink.store([record('toy.predictions', Buffer.alloc(600_000, 'x'))]);
    expect(sizes).toEqual([600_000, 500_000, 0]);
    expect(deadLetters()).toMatchObject([{ reason: 'UNDECODABLE' }]);
  });

  test('of the dead-letter topic rejects the call', async () => {
    log.refuse = () => new MillraceError('LOG_TIMEOUT', 'No answer.', { retriable: true });
    await expect(sink.store([record('toy.predictions', Buffer.from('x'))])).rejects.toMatchObject({
      code: 'LOG_TIMEOUT',
    });
  });
});
