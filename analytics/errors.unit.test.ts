import { ClickHouseError } from '@clickhouse/client';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../platform/errors.js';
import { translateError } from './errors.js';

const refusal = (code: string) => new ClickHouseError({ code, type: 'SOME_TYPE', message: 'because' });

describe('translateError', () => {
  test.each([
    ['too many parts', refusal('252'), 'CLICKHOUSE_UNAVAILABLE', true],
    ['memory', refusal('241'), 'CLICKHOUSE_UNAVAILABLE', true],
    ['read-only table', refusal('242'), 'CLICKHOUSE_UNAVAILABLE', true],
    ['unparsable row', refusal('27'), 'CLICKHOUSE_BAD_ROWS', false],
    ['unknown field', refusal('117'), 'CLICKHOUSE_BAD_ROWS', false],
    ['unknown table', refusal('60'), 'CLICKHOUSE_REFUSED', false],
    ['wrong password', refusal('516'), 'CLICKHOUSE_REFUSED', false],
    [
      'nobody listens',
      Object.assign(new Error(''), { code: 'ECONNREFUSED' }),
      'CLICKHOUSE_UNAVAILABLE',
      true,
    ],
    ['a proxy answers', new Error('<html>502 Bad Gateway</html>'), 'CLICKHOUSE_UNAVAILABLE', true],
    [
      'a value JSON has not',
      new TypeError('Do not know how to serialize a BigInt'),
      'CLICKHOUSE_REFUSED',
      false,
    ],
  ])('%s', (_, thrown, code, retriable) => {
    expect(translateError(thrown, 'do it')).toMatchObject({ code, retriable, cause: thrown });
  });

  test('keeps a MillraceError', () => {
    const ours = new MillraceError('MIGRATION_CHANGED', 'changed');
    expect(translateError(ours, 'do it')).toBe(ours);
  });
});
