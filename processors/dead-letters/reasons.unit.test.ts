import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { reasonsPage, withReasons } from './document-reasons.js';
import { asDeadLetterReason } from './reasons.js';

test('uses a permanent error as its reason; a transient error is thrown on', () => {
  const final = new MillraceError('UNDECODABLE', 'It is bad.');
  expect(asDeadLetterReason(final)).toBe(final);
  for (const error of [
    new MillraceError('LOG_TIMEOUT', 'Later.', { retriable: true }),
    new TypeError('a defect'),
  ])
    expect(() => asDeadLetterReason(error)).toThrow(error);
});

test('docs/bad-input.md lists the reasons for dead letters in the code', () => {
  // The formatter aligns the columns.
  const unaligned = (page: string): string => page.replaceAll(/ {2,}/g, ' ').replaceAll(/-{3,}/g, '---');
  const page = readFileSync(reasonsPage, 'utf8');
  expect(page).toContain('`UNDECODABLE`');
  expect(unaligned(page)).toBe(unaligned(withReasons(page)));
});
