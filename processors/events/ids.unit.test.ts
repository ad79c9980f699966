import { v5 as uuidv5, validate, version } from 'uuid';
import { describe, expect, it } from 'vitest';
import { idempotentEventId, newEventId, positionEventId, predictionId } from './ids.js';

// Stored ids are derived from it: it can't change.
const namespace = '6c234070-236f-4a53-8625-b11280d55c63';

describe('ids', () => {
  it.each(['', 'event', 'é', 'x'.repeat(300)])(
    'makes the UUIDv5 that the uuid package makes of %j',
    (name) => {
      expect(predictionId(name, 'digest')).toBe(uuidv5(`digest:${name}`, namespace));
    },
  );

  it('gives the same ids as before', () => {
    expect(predictionId('e-1', 'd')).toBe(uuidv5('d:e-1', namespace));
    expect(idempotentEventId('p', 'k', 2)).toBe(uuidv5('["event","p","k",2]', namespace));
    expect(positionEventId({ topic: 't', partition: 1, offset: 5 })).toBe(
      uuidv5('["record","t",1,5]', namespace),
    );
  });

  it('gives each event its own UUIDv7', () => {
    const ids = new Set(Array.from({ length: 2000 }, newEventId));
    expect(ids.size).toBe(2000);
    for (const id of ids) expect([validate(id), version(id)]).toEqual([true, 7]);
  });

  it('gives ids that sort by their millisecond', async () => {
    const first = newEventId();
    const start = Date.now();
    while (Date.now() === start) await Promise.resolve();
    expect(newEventId() > first).toBe(true);
  });
});
