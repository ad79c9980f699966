import type { Options } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { cutHeader, fitProperties, shortText } from './fit-properties.js';

const headersOf = (headers: Record<string, unknown>, frameMax = 131_072): Record<string, unknown> =>
  fitProperties({ headers }, frameMax).headers as Record<string, unknown>;

describe('properties for a frame', () => {
  it('are unchanged when they fit', () => {
    const options: Options.Publish = { messageId: 'id', headers: { a: 'x'.repeat(65_500), b: 1 } };
    expect(fitProperties(options, 131_072)).toEqual(options);
  });

  it('lose the end of their longest text first', () => {
    expect(headersOf({ long: 'x'.repeat(70_000), short: 'y' })).toEqual({
      long: 'x'.repeat(200),
      short: 'y',
      [cutHeader]: 1,
    });
  });

  it.each([
    ['bytes', Buffer.alloc(70_000)],
    ['a table', { inner: 'x'.repeat(70_000) }],
    ['a list', Array.from({ length: 10_000 }, () => 'longer')],
  ])('lose %s that are too large', (_, value) => {
    expect(headersOf({ value, short: 'y' })).toEqual({ short: 'y', [cutHeader]: 1 });
  });

  it('lose headers when there are too many', () => {
    const many = Object.fromEntries(Array.from({ length: 8_000 }, (_, index) => [`header-${index}`, 'x']));
    const kept = headersOf(many);
    expect(Object.keys(kept).length).toBeGreaterThan(3_000);
    expect(kept[cutHeader]).toBe(8_000 - (Object.keys(kept).length - 1));
  });

  it('fit into the frames of the connection', () => {
    expect(headersOf({ long: 'x'.repeat(5_000) }, 4_096)).toEqual({ long: 'x'.repeat(200), [cutHeader]: 1 });
    expect(headersOf({ long: 'x'.repeat(3_000) }, 4_096)).toEqual({ long: 'x'.repeat(3_000) });
  });

  it('have short texts, cut between characters', () => {
    expect(fitProperties({ messageId: '\ufffd'.repeat(255) }, 131_072).messageId).toBe('\ufffd'.repeat(85));
    expect(shortText('é'.repeat(200))).toBe('é'.repeat(127));
  });
});
