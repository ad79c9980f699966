/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import { expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { predictionRow } from '../../analytics/testing/rows.js';
import type { SharedStore } from '../../platform/shared-store.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import { wireHeaderBytes } from '../../streams/serde.js';
import { toPredictionRow } from '../scoring/prediction.js';
import { compact, PredictionCache } from './prediction-cache.js';

const unavailable = new MillraceError('CLICKHOUSE_UNAVAILABLE', 'It hangs.');

it('waits a moment for a hanging database, and then does not query it', async () => {
  let asked = 0;
  const hang = (_ids: readonly string[], signal?: AbortSignal): Promise<never> =>
    new Promise((_resolve, reject) => {
      asked++;
      signal?.addEventListener('abort', () => reject(unavailable));
    });
  const cache = new PredictionCache(hang, { timeoutMs: 10, cooldownMs: 60_000 });
  await expect(cache.find('p', ['a'])).rejects.toBe(unavailable);
  await expect(cache.find('p', ['b'])).rejects.toBe(unavailable);
  await expect(cache.find('p', ['c'])).rejects.toBe(unavailable);
  expect(asked).toBe(2);
});

it('looks up many ids in several queries, each with its own time limit, and other ids after a failure', async () => {
  const ids = Array.from({ length: 10_000 }, (_, index) => `id-${index}`);
  let slow = false;
  const asked: number[] = [];
  const find = (some: readonly string[], signal?: AbortSignal): Promise<[]> =>
    new Promise((resolve, reject) => {
      asked.push(some.length);
      signal?.addEventListener('abort', () => reject(unavailable));
      if (!slow) setTimeout(() => resolve([]), 2);
    });
  const cache = new PredictionCache(find, { timeoutMs: 60, cooldownMs: 60_000 });
  expect(await cache.find('p', ids)).toEqual(new Map());
  expect(Math.max(...asked)).toBeLessThanOrEqual(250);
  slow = true;
  await expect(cache.find('p', ids)).rejects.toBe(unavailable);
  slow = false;
  expect(await cache.find('p', ['another'])).toEqual(new Map());
});

it('queries a database again some time after a failure', async () => {
  let asked = 0;
  const failOnce = (): Promise<[]> => (asked++ === 0 ? Promise.reject(unavailable) : Promise.resolve([]));
  const cache = new PredictionCache(failOnce, { cooldownMs: 0 });
  await expect(cache.find('p', ['a'])).rejects.toBe(unavailable);
  expect(await cache.find('p', ['a'])).toEqual(new Map());
  expect(asked).toBe(2);
});

it('reads what a copy of an earlier release shares, which has no outputs', async () => {
  const { outputs: _, ...older } = predictionRow({ pipeline: 'p', event_id: 'a' });
  const entries = new Map([['prediction:p:a', JSON.stringify(older)]]);
  const shared = {
    read: (keys: string[]) => Promise.resolve(keys.map((key) => entries.get(key))),
  } as unknown as SharedStore;
  const nothing = (): Promise<[]> => Promise.resolve([]);
  const cache = new PredictionCache(nothing, { shared });
  expect(await cache.recallAnywhere(['p'], 'a')).toEqual([{ ...older, outputs: '{}' }]);
  expect((await cache.find('p', ['a'])).get('a')).toEqual({ ...older, outputs: '{}' });
});

it('keeps fewer predictions if they are large', () => {
  const cache = new PredictionCache(() => Promise.resolve([]), { maxBytes: 5_000 });
  const outputs = JSON.stringify({ embedding: Array.from({ length: 500 }, () => 0.5) });
  for (const event_id of ['a', 'b', 'c']) cache.remember(predictionRow({ pipeline: 'p', event_id, outputs }));
  expect(['a', 'b', 'c'].map((id) => cache.recall('p', id)?.event_id)).toEqual([undefined, 'b', 'c']);
});

it.each([
  { label: null, model_event_at: null, outputs: null },
  { label: 'ja \u20ac', model_event_at: 1_767_225_600_000, outputs: '{"p":[0.1,0.9]}' },
])('reads a prediction from its encoding as it was: %o', (different) => {
  const { type } = loadContract('shared', 'prediction');
  const prediction: Prediction = {
    ...(type.random() as unknown as Prediction),
    event_time: 1_767_225_600_123,
    predicted_at: 1_767_225_600_127,
    score: 0.1 + 0.2,
    latency_ms: 4,
    features: JSON.stringify({ text: '\u20ac \ud800' }),
    ...different,
  };
  const position = { topic: 't', partition: 2, offset: 2 ** 40 };
  const encoded = Buffer.concat([Buffer.alloc(wireHeaderBytes), type.toBuffer(prediction)]);
  const kept = compact(type, encoded, position);
  // Others write to the rest of its buffer.
  encoded.fill(0);
  const row = toPredictionRow({ ...prediction, ...position });
  expect(kept.read()).toEqual(row);
  expect(kept.read()).toEqual(row);
});
