import { describe, expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { unreadableHeader } from '../../streams/records.js';
import { toStreamRecord } from '../testing/fake-log.js';
import { deadLetterRecord, openDeadLetter, readDeadLetter, smallerDeadLetter } from './dead-letter.js';
import { isResolution, readResolution, resolutionRecord } from './resolutions.js';
import { originalRecord } from './resolve.js';

const now = Date.UTC(2026, 0, 31, 12);
const topic = 'toy.dead-letters';

const failed = (changes: Partial<StreamRecord> = {}): StreamRecord => ({
  topic: 'toy.events',
  partition: 2,
  offset: 7,
  timestamp: now - 1_000,
  key: Buffer.from('k'),
  value: Buffer.from([0xff, 0, 1]),
  headers: { ce_id: Buffer.from('e'), trace: Buffer.from([0, 0xfe]) },
  ...changes,
});

const deadLetter = (record = failed(), detail = 'It is bad.'): NewRecord =>
  deadLetterRecord(topic, 'toy', record, new MillraceError('UNDECODABLE', detail), {
    now,
    schemaId: 4,
    eventId: 'e',
  });

const redrive = (record: NewRecord): NewRecord | MillraceError =>
  originalRecord(openDeadLetter(toStreamRecord(record), 'toy'));

describe('a dead letter', () => {
  test('keeps the original record, with the reason and position beside it', () => {
    const record = deadLetter();
    expect(record).toMatchObject({ topic, key: Buffer.from('k'), value: Buffer.from([0xff, 0, 1]) });
    expect(record.headers).toMatchObject({ ce_id: Buffer.from('e'), trace: Buffer.from([0, 0xfe]) });
    expect(readDeadLetter(toStreamRecord(record), 'other')).toEqual({
      pipeline: 'toy',
      reason: 'UNDECODABLE',
      detail: 'It is bad.',
      topic: 'toy.events',
      partition: 2,
      offset: 7,
      schemaId: 4,
      eventId: 'e',
      failedAt: now,
    });
  });

  test('of a record that never was on the log has its own position', () => {
    const record = toStreamRecord(deadLetter(failed({ topic: 'rabbitmq:q', partition: -1, offset: -1 })), 5);
    expect(readDeadLetter(record, 'toy')).toMatchObject({ topic: 'rabbitmq:q', partition: 0, offset: 5 });
  });

  test('drops dead-letter headers of the original', () => {
    const headers = {
      'dead-letter-resolution': Buffer.from('discarded'),
      'dead-letter-note': Buffer.from('x'),
    };
    const record = toStreamRecord(deadLetter(failed({ headers })));
    expect(isResolution(record)).toBe(false);
    expect(record.headers).not.toHaveProperty('dead-letter-note');
  });

  test('that the log refuses as too large keeps half a megabyte, then only reason and position', () => {
    const large = deadLetter(failed({ value: Buffer.alloc(2_000_000, 'x') }), 'd'.repeat(3_000));
    expect(smallerDeadLetter(large, 0)).toBe(large);
    const shrunk = smallerDeadLetter(large, 1);
    expect(shrunk.value).toHaveLength(500_000);
    expect(shrunk.headers).not.toHaveProperty('trace');
    const smallest = smallerDeadLetter(large, 2);
    expect(smallest.value).toHaveLength(0);
    expect(smallest.headers?.['dead-letter-detail']).toHaveLength(200);
    for (const record of [shrunk, smallest]) {
      expect(record.headers).toMatchObject({ 'dead-letter-truncated-from': '2000000' });
      expect(readDeadLetter(toStreamRecord(record), 'toy')).toMatchObject({ offset: 7, eventId: 'e' });
    }
  });
});

describe('a redriven record', () => {
  test('has the bytes, key and headers that failed, their id and time, and the number of redrives', () => {
    expect(redrive(deadLetter(failed({ headers: { trace: Buffer.from('t') } })))).toEqual({
      topic: 'toy.events',
      key: Buffer.from('k'),
      value: Buffer.from([0xff, 0, 1]),
      headers: {
        trace: Buffer.from('t'),
        ce_id: 'e',
        ce_time: '2026-01-31T11:59:59.000Z',
        'millrace-redriven': '1',
      },
    });
    const again = deadLetter(failed({ headers: { 'millrace-redriven': Buffer.from('4') } }));
    expect(redrive(again)).toMatchObject({ headers: { 'millrace-redriven': '5' } });
  });

  test.each<[string, NewRecord]>([
    ['only the beginning', smallerDeadLetter(deadLetter(), 1)],
    [
      'decompressed',
      deadLetter(failed({ value: null, headers: { [unreadableHeader]: Buffer.from('zstd') } })),
    ],
    ['never was on the log', deadLetter(failed({ topic: 'rabbitmq:q' }))],
    ['did not come from a topic', deadLetter(failed({ topic: 'millrace.models' }))],
    ['more than 1000000 bytes', deadLetter(failed({ value: Buffer.alloc(1_200_000) }))],
    ['would fail again', deadLetter(failed({ headers: { ce_id: Buffer.from([0xff]) } }))],
  ])('is refused where %s', (why, record) => {
    expect(redrive(record)).toMatchObject({
      code: 'NOT_REDRIVABLE',
      message: expect.stringContaining(why) as string,
    });
  });
});

describe('a resolution', () => {
  const stored = openDeadLetter(toStreamRecord(deadLetter()), 'toy');

  test('names its dead letter, and is stored in the same partition', () => {
    const record = resolutionRecord(stored, { kind: 'discarded', note: 'why', now });
    expect(record).toMatchObject({ topic, partition: 0, key: stored.record.key, value: null });
    const read = toStreamRecord(record);
    expect(isResolution(read)).toBe(true);
    expect(readResolution(read, 'other')).toEqual({
      deadLetterId: stored.id,
      pipeline: 'toy',
      kind: 'discarded',
      note: 'why',
      resolvedAt: now,
    });
  });

  test.each([{ resolution: 'other' }, { id: 'x' }, { 'resolved-at': '' }])('is refused with %j', (forged) => {
    const record = toStreamRecord(resolutionRecord(stored, { kind: 'discarded', note: '', now }));
    for (const [name, value] of Object.entries(forged))
      record.headers[`dead-letter-${name}`] = Buffer.from(value);
    expect(() => readResolution(record, 'toy')).toThrow(
      expect.objectContaining({ code: 'ROW_INVALID' }) as Error,
    );
  });
});
