import type { ConsumeMessage } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { countRedelivered, digestOf } from './redelivery.js';

describe('redelivered messages', () => {
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
    expect(countRedelivered(unsettled, redelivered)).toBe(repeats);
  });
});

describe('a digest', () => {
  const message = (headers: object, more: object = {}): ConsumeMessage =>
    ({
      content: Buffer.from('{}'),
      fields: { exchange: '', routingKey: 'q', deliveryTag: 1, redelivered: false },
      properties: { headers, messageId: undefined, ...more },
    }) as unknown as ConsumeMessage;

  it('is the same for a redelivered message', () => {
    const first = digestOf(message({ kind: 'card', at: { '!': 'int64', value: '9223372036854775807' } }));
    for (const header of ['x-delivery-count', 'x-acquired-count', 'x-first-death-queue', 'x-opt-delivery'])
      expect(
        digestOf(message({ [header]: 1, at: { '!': 'int64', value: '9223372036854775807' }, kind: 'card' })),
      ).toBe(first);
    expect(digestOf(message({ 'x-death': [{ count: 1 }] }, { clusterId: 'c' }))).toBe(digestOf(message({})));
  });

  it('differs by what the sender sets', () => {
    const all = [
      message({}),
      message({ kind: 'card' }),
      message({ 'x-kind': 'card' }),
      message({}, { messageId: 'm' }),
    ];
    expect(new Set(all.map(digestOf)).size).toBe(4);
  });
});
