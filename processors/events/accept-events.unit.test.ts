import { beforeEach, describe, expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import type { SharedStore } from '../../platform/shared-store.js';
import { countTurns } from '../../platform/testing/count-turns.js';
import { FakeLog } from '../testing/fake-log.js';
import { openToyPipeline, type ToyPipeline } from '../testing/toy-pipeline.js';
import { EventAcceptor, type EventAcceptorOptions, NotWritten } from './accept-events.js';
import { PredictionCache } from './prediction-cache.js';

const context = { source: 'test', timeoutMs: 1_000 };
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const tooLarge = new MillraceError('RECORD_TOO_LARGE', 'Too large.');

let toy: ToyPipeline;
let log: FakeLog;
let acceptor: EventAcceptor;
const open = (options: Partial<EventAcceptorOptions> = {}): EventAcceptor =>
  new EventAcceptor({
    producer: log,
    serde: toy.serde,
    cache: new PredictionCache(() => Promise.resolve([])),
    metrics: toy.metrics,
    logger: silentLogger,
    ...options,
  });

beforeEach(async () => {
  toy = await openToyPipeline();
  log = new FakeLog();
  acceptor = open();
});

const events = () => log.read('toy.events');
const idsOnLog = (): (string | undefined)[] => events().map(({ headers }) => headers['ce_id']?.toString());
const accepted = async (): Promise<number> => (await toy.metrics.eventsAccepted.get()).values[0]?.value ?? 0;
const conflict: object = expect.objectContaining({ code: 'EVENT_ID_CONFLICT' }) as object;

describe('publish', () => {
  test('puts valid events on the log, with an id, a key and a time, and names the errors of the others', async () => {
    const results = await acceptor.publish(
      toy.pipeline,
      [
        { a: 1, b: 2 },
        { a: 1, b: 'two' },
        { a: 2, b: 3, event_id: 'mine', event_time: '2026-01-31T12:00:00Z' },
        { a: 2, b: 3, event_id: '' },
        'no object',
      ],
      context,
    );
    expect(results).toMatchObject([
      expect.stringMatching(uuid),
      { code: 'EVENT_INVALID', fields: [{ field: 'b' }] },
      'mine',
      { code: 'EVENT_INVALID', fields: [{ field: 'event_id' }] },
      { code: 'EVENT_INVALID' },
    ]);
    expect(idsOnLog()).toEqual([results[0], 'mine']);
    const [, mine] = events();
    expect(mine?.key?.toString()).toBe('key-2');
    expect(mine?.headers['ce_time']?.toString()).toBe('2026-01-31T12:00:00.000Z');
    expect(toy.serde.decode(mine?.value ?? null, toy.pipeline.event.type)).toEqual({ a: 2, b: 3 });
    expect(await accepted()).toBe(2);
  });

  test('gives events of one Idempotency-Key the same ids again, each its own', async () => {
    const bodies = [
      { a: 1, b: 1 },
      { a: 2, b: 2 },
    ];
    const keyed = { ...context, idempotencyKey: 'k' };
    const first = await acceptor.publish(toy.pipeline, bodies, keyed);
    expect(new Set(first).size).toBe(2);
    expect(await acceptor.publish(toy.pipeline, bodies, keyed)).toEqual(first);
    expect(await acceptor.publish(toy.pipeline, bodies, { ...keyed, idempotencyKey: 'other' })).not.toEqual(
      first,
    );
  });

  test('refuses another event under an id, in the same request and later', async () => {
    const other = { a: 9, b: 9, event_id: 'x' };
    const repeat = { a: 1, b: 1, event_id: 'x' };
    expect(await acceptor.publish(toy.pipeline, [repeat, other, repeat], context)).toEqual([
      'x',
      conflict,
      'x',
    ]);
    expect(await acceptor.publish(toy.pipeline, [other, repeat], context)).toEqual([conflict, 'x']);
    expect(idsOnLog()).toEqual(['x', 'x', 'x']);
  });

  test('refuses another event under an id that was predicted', async () => {
    const cache = new PredictionCache(() => Promise.resolve([]));
    await open({ cache }).predict(toy.pipeline, [{ a: 1, b: 1, event_id: 'x' }], context);
    const copy = open({ cache });
    expect(await copy.publish(toy.pipeline, [{ a: 2, b: 1, event_id: 'x' }], context)).toEqual([conflict]);
    expect(await copy.publish(toy.pipeline, [{ a: 1, b: 1, event_id: 'x' }], context)).toEqual(['x']);
  });

  test('one event that the log refuses has its id in its error, and does not affect the others', async () => {
    log.refuse = ({ headers }) => (headers?.['ce_id'] === 'b' ? tooLarge : undefined);
    const bodies = ['a', 'b', 'c'].map((id, index) => ({ a: index, b: 0, event_id: id }));
    const results = await acceptor.publish(toy.pipeline, bodies, context);
    expect(results).toMatchObject(['a', { code: 'RECORD_TOO_LARGE', eventId: 'b' }, 'c']);
    expect(results[1]).toBeInstanceOf(NotWritten);
    expect(await accepted()).toBe(2);
    // It was not accepted, so its id is free.
    log.refuse = () => undefined;
    expect(await acceptor.publish(toy.pipeline, [{ a: 7, b: 7, event_id: 'b' }], context)).toEqual(['b']);
  });

  test('yields to other work while it validates a large request, and sends that at once', async () => {
    const turns = countTurns();
    const bodies = Array.from({ length: 5_000 }, (_, index) => ({ a: index, b: 0, event_id: `e-${index}` }));
    const results = await acceptor.publish(toy.pipeline, bodies, context);
    expect(turns()).toBeGreaterThan(5);
    expect(results).toEqual(bodies.map(({ event_id }) => event_id));
    expect(log.calls).toBe(1);
  });

  test('knows what another copy accepted, by the shared store', async () => {
    const values = new Map<string, string>();
    const shared = {
      read: (keys: readonly string[]) => Promise.resolve(keys.map((key) => values.get(key))),
      write: ({ key, value }: { key: string; value: string }) => void values.set(key, value),
    } as unknown as SharedStore;
    await open({ shared }).publish(toy.pipeline, [{ a: 1, b: 1, event_id: 'x' }], context);
    const copy = open({ shared });
    const bodies = [
      { a: 2, b: 1, event_id: 'x' },
      { a: 1, b: 1, event_id: 'x' },
    ];
    expect(await copy.publish(toy.pipeline, bodies, context)).toEqual([conflict, 'x']);
  });
});

describe('predict', () => {
  test('answers with predictions that are on the log in the records of their events', async () => {
    const [row, failed, invalid] = await acceptor.predict(
      toy.pipeline,
      [{ a: 8, b: 3, event_id: 'x' }, { a: -1, b: 0 }, { a: 1 }],
      context,
    );
    expect(row).toMatchObject({ event_id: 'x', score: 11, label: 'high', role: 'champion', offset: 0 });
    expect(failed).toMatchObject({ code: 'MODEL_FAILED' });
    expect(invalid).toMatchObject({ code: 'EVENT_INVALID' });
    const [record, ...others] = events();
    expect(others).toEqual([]);
    const carried = toy.serde.decode(
      record?.headers['millrace-prediction'] ?? null,
      toy.pipeline.prediction.type,
    );
    expect(carried).toMatchObject({ event_id: 'x', score: 11 });
  });

  test('answers a repeat with the first prediction, without scoring it again', async () => {
    const body = { a: 1, b: 2, event_id: 'x' };
    const [first] = await acceptor.predict(toy.pipeline, [body], context);
    expect(await acceptor.predict(toy.pipeline, [body], context)).toEqual([first]);
    expect(toy.model.rows).toBe(1);
    expect(idsOnLog()).toEqual(['x']);
    expect(await acceptor.predict(toy.pipeline, [{ ...body, a: 2 }], context)).toEqual([conflict]);
  });

  test('a repeat in flight waits for the first, and another event under its id is refused', async () => {
    let release = (): void => undefined;
    toy.model.gate = new Promise<void>((resolve) => (release = resolve));
    const body = { a: 1, b: 2, event_id: 'x' };
    const first = acceptor.predict(toy.pipeline, [body], context);
    const repeat = acceptor.predict(toy.pipeline, [body, body], context);
    const other = acceptor.predict(toy.pipeline, [{ ...body, b: 3 }], context);
    release();
    const [row] = await first;
    expect(await repeat).toEqual([row, row]);
    expect(await other).toEqual([conflict]);
    expect(toy.model.rows).toBe(1);
  });

  test('a prediction that the log refuses is none, and the next attempt makes it', async () => {
    log.refuse = () => tooLarge;
    const body = { a: 1, b: 2, event_id: 'x' };
    expect(await acceptor.predict(toy.pipeline, [body], context)).toMatchObject([
      { code: 'RECORD_TOO_LARGE', eventId: 'x' },
    ]);
    log.refuse = () => undefined;
    expect(await acceptor.predict(toy.pipeline, [body], context)).toMatchObject([{ score: 3 }]);
  });

  test('predicts again while earlier predictions can’t be looked up', async () => {
    const down = new MillraceError('CLICKHOUSE_UNAVAILABLE', 'It is down.', { retriable: true });
    acceptor = open({ cache: new PredictionCache(() => Promise.reject(down)) });
    const body = { a: 1, b: 2, event_id: 'x' };
    expect(await acceptor.predict(toy.pipeline, [body], context)).toMatchObject([{ score: 3 }]);
  });

  test('rejects with the error of an unavailable model', async () => {
    toy.model.gate = Promise.reject(new MillraceError('MODEL_WORKER_DIED', 'It died.', { retriable: true }));
    toy.model.gate.catch(() => undefined);
    await expect(acceptor.predict(toy.pipeline, [{ a: 1, b: 2 }], context)).rejects.toMatchObject({
      code: 'MODEL_WORKER_DIED',
    });
  });
});

describe('accept', () => {
  test('leaves the writing to the caller, and reserves ids only once it confirms', async () => {
    const body = { a: 1, b: 2, event_id: 'x' };
    const results = await acceptor.accept(toy.pipeline, [body, { a: 1 }], { source: 'queue' });
    expect(results).toMatchObject([
      {
        event: { eventId: 'x' },
        record: { topic: 'toy.events', headers: { ce_id: 'x', ce_source: 'queue' } },
      },
      { code: 'EVENT_INVALID' },
    ]);
    expect(log.calls).toBe(0);
    expect(await accepted()).toBe(0);
    const other = { ...body, a: 2 };
    expect(await acceptor.accept(toy.pipeline, [other], { source: 'queue' })).toMatchObject([{ event: {} }]);
    acceptor.confirm(toy.pipeline, results);
    expect(await accepted()).toBe(1);
    expect(await acceptor.accept(toy.pipeline, [other], { source: 'queue' })).toEqual([conflict]);
  });
});
