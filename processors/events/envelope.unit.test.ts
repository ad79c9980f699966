import { expect, it } from 'vitest';
import type { RecordSchema } from '../../schemas/contracts.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { toJsonSchema } from '../../ingest/openapi/describe.js';
import type { Scorer } from '../scoring/scorer.js';
import { EnvelopedEvent, envelopeSchema, openEnvelope } from './envelope.js';

function scorerOf(...fields: RecordSchema['fields']): Scorer {
  const schema = eventSchema({ type: 'record', name: 'E', fields });
  const validate: Scorer['validate'] = (event) => {
    const { data, error } = schema.safeParse(event);
    return data ?? new InvalidEvent(fieldErrors(error));
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a stand-in
  return { schema, validate } as unknown as Scorer;
}

it('separates id and time from the fields', () => {
  const scorer = scorerOf({ name: 'x', type: 'int' });
  expect(openEnvelope({ x: 1, event_id: 'a', event_time: '2026-01-31' }, scorer)).toEqual(
    new EnvelopedEvent('a', Date.UTC(2026, 0, 31), { x: 1 }),
  );
  expect(openEnvelope({ x: 1, event_id: null, event_time: null }, scorer)).toEqual(
    new EnvelopedEvent(undefined, undefined, { x: 1 }),
  );
  expect(openEnvelope({ x: '1', event_id: 5, event_time: 5 }, scorer)).toMatchObject({
    fields: [{ field: 'event_id' }, { field: 'event_time' }, { field: 'x' }],
  });
});

it('are fields too if the contract has them', () => {
  const time: RecordSchema['fields'][0] = {
    name: 'event_time',
    type: { type: 'long', logicalType: 'timestamp-millis' },
  };
  const scorer = scorerOf({ name: 'event_id', type: 'string' }, time);
  const at = Date.UTC(2026, 0, 31);
  expect(openEnvelope({ event_id: 'a', event_time: '2026-01-31' }, scorer)).toEqual(
    new EnvelopedEvent('a', at, { event_id: 'a', event_time: at }),
  );
  expect(openEnvelope({ event_id: 'a', event_time: at }, scorer)).toEqual(
    new EnvelopedEvent('a', undefined, { event_id: 'a', event_time: at }),
  );
  expect(openEnvelope({ event_time: 'noon' }, scorer)).toMatchObject({
    fields: [
      { field: 'event_id', problem: 'is missing' },
      { field: 'event_time', problem: expect.stringContaining('milliseconds since 1970') as string },
    ],
  });
  const described = toJsonSchema(scorer.schema.extend({ ...envelopeSchema.shape, ...scorer.schema.shape }));
  expect(described['required']).toEqual(['event_id', 'event_time']);
  expect(() => scorerOf({ name: 'event_id', type: 'long' })).toThrow(
    'E.event_id is the id of an event, a string.',
  );
});
