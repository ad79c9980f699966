/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import { expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import type { IdentifiedEvent, PredictResult } from './accept-events.js';
import { type PredictBatch, PredictBatcher } from './predict-batcher.js';

const [cars, rides] = [{ name: 'cars' }, { name: 'rides' }] as OpenPipeline[] as [OpenPipeline, OpenPipeline];
const context = { source: 'test', timeoutMs: 100 };
const eventOf = (eventId: string) => ({ eventId }) as IdentifiedEvent;
const resultOf = ({ eventId }: IdentifiedEvent) => ({ event_id: eventId }) as PredictResult;

function open(fail?: (batch: PredictBatch) => MillraceError | undefined) {
  const batches: string[][] = [];
  const batcher = new PredictBatcher((batch) => {
    batches.push(batch.events.map(({ event }) => event.eventId));
    const error = fail?.(batch);
    return error === undefined
      ? Promise.resolve(batch.events.map(({ event }) => resultOf(event)))
      : Promise.reject(error);
  });
  return { batches, batcher };
}

it('batches the events of one turn, by pipeline, time limit and source, with the result of each', async () => {
  const { batches, batcher } = open();
  const results = await Promise.all([
    batcher.predict(cars, eventOf('a'), context),
    batcher.predict(rides, eventOf('b'), context),
    batcher.predict(cars, eventOf('c'), context),
    batcher.predict(cars, eventOf('d'), { ...context, timeoutMs: 5 }),
    batcher.predict(cars, eventOf('e'), { ...context, timeoutMs: 5, source: 'other' }),
  ]);
  expect(batches).toEqual([['a', 'c'], ['b'], ['d'], ['e']]);
  expect(results.map((result) => (result as { event_id: string }).event_id)).toEqual([
    'a',
    'b',
    'c',
    'd',
    'e',
  ]);
});

it('begins another batch in the next turn, and after 512 events', async () => {
  const { batches, batcher } = open();
  await batcher.predict(cars, eventOf('first'), context);
  await Promise.all(
    Array.from({ length: 513 }, (_, index) => batcher.predict(cars, eventOf(`${index}`), context)),
  );
  expect(batches.map(({ length }) => length)).toEqual([1, 512, 1]);
});

it('fails with its batch alone', async () => {
  const error = new MillraceError('MODEL_NOT_SERVED', 'Not loaded.', { retriable: true });
  const { batcher } = open(({ pipeline }) => (pipeline === rides ? error : undefined));
  const failing = batcher.predict(rides, eventOf('a'), context);
  const served = batcher.predict(cars, eventOf('b'), context);
  await expect(failing).rejects.toBe(error);
  expect(await served).toEqual({ event_id: 'b' });
});
