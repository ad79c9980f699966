import { describe, expect, it } from 'vitest';
import { countRepeats } from './repeats.js';

describe('messages that come again', () => {
  it.each([
    ['nothing was under way', [], ['a', 'b'], 0],
    ['RabbitMQ has all acknowledgements', [['a', 'b']], ['c', 'd'], 0],
    ['RabbitMQ has none, and nothing else was delivered', [['a', 'b'], ['c']], ['a', 'b', 'c'], 3],
    ['others were delivered that are not on the log', [['a', 'b']], ['a', 'b', 'c'], 2],
    [
      'RabbitMQ has the acknowledgement of the first batch',
      [
        ['a', 'b'],
        ['c', 'd'],
      ],
      ['c', 'd', 'e'],
      2,
    ],
    ['equal messages are among others', [['a', 'x', 'b']], ['x', 'c'], 0],
    ['a new message equals the first of a batch', [['a', 'b']], ['a', 'c'], 0],
    ['fewer came than the batch has', [['a', 'b', 'c']], ['a', 'b'], 0],
    ['one message was under way', [['a']], ['a', 'b'], 1],
    ['all are the same, so that nothing can be told', [['a', 'a', 'a']], ['a', 'a', 'a', 'a'], 0],
  ])('%s', (_, unsettled, redelivered, repeats) => {
    expect(countRepeats(unsettled, redelivered)).toBe(repeats);
  });
});
