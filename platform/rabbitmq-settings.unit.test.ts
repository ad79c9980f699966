import { describe, expect, it } from 'vitest';
import { loadConfig } from './config.js';
import { parseBindings, parseQueueMappings, parseResultsQueues } from './rabbitmq-settings.js';

describe('RABBITMQ_QUEUES', () => {
  it('maps queues to pipelines, one by default', () => {
    expect(parseQueueMappings(loadConfig({}).RABBITMQ_QUEUES)).toEqual([
      { queue: 'alicpp_records', pipeline: 'credit-default' },
    ]);
    expect(parseQueueMappings('a=b=credit-default , rides=taxi-trip-duration')).toEqual([
      { queue: 'a=b', pipeline: 'credit-default' },
      { queue: 'rides', pipeline: 'taxi-trip-duration' },
    ]);
  });

  it.each([
    ['alicpp_records', /"alicpp_records" is not of the form queue=pipeline/],
    ['=credit-default', /is not of the form/],
    ['a=', /is not of the form/],
    [' , ', /names no queue/],
    ['a=credit-default,a=car-price', /names the queue "a" twice/],
    [`${'a'.repeat(256)}=credit-default`, /longer than 255 bytes/],
  ])('is not %j', (text, problem) => {
    expect(() => loadConfig({ RABBITMQ_QUEUES: text })).toThrow(problem);
  });
});

describe('RABBITMQ_BINDINGS', () => {
  it('has a list of all types', () => {
    const text = `[{"queue": "q", "exchange": "t", "type": "topic", "routing_key": "a.#"},
      {"queue": "q", "exchange": "h", "type": "headers", "headers": {"x-match": "any", "kind": "card", "level": 3}},
      {"queue": "q", "exchange": "there", "durable": false}, {"queue": "q", "exchange": ""}]`;
    expect(parseBindings(text).map(({ exchange, type, durable }) => [exchange, type, durable])).toEqual([
      ['t', 'topic', true],
      ['h', 'headers', true],
      ['there', undefined, false],
      ['', undefined, true],
    ]);
  });

  it.each([
    ['queue=exchange', /RABBITMQ_BINDINGS .*is not JSON/],
    ['{}', /must be a list of bindings/],
    ['[{"queue": "q"}]', /\[0\.exchange\]/],
    ['[{"queue": "q", "exchange": "x", "type": "fan-out"}]', /\[0\.type\]/],
    ['[{"queue": "q", "exchange": "x", "key": "k"}]', /key/],
    ['[{"queue": "q", "exchange": "x", "type": "headers"}]', /needs `headers`/],
    ['[{"queue": "q", "exchange": "x", "type": "topic", "headers": {"a": 1}}]', /alone/],
  ])('is not %j', (text, problem) => {
    expect(() => loadConfig({ RABBITMQ_BINDINGS: text })).toThrow(problem);
  });
});

describe('RABBITMQ_RESULTS_QUEUES', () => {
  it('names queues and patterns, none by default', () => {
    expect(parseResultsQueues(loadConfig({}).RABBITMQ_RESULTS_QUEUES)).toEqual([]);
    expect(parseResultsQueues('all, defaults=credit-default.*.default')).toEqual([
      { queue: 'all', pattern: '#' },
      { queue: 'defaults', pattern: 'credit-default.*.default' },
    ]);
  });

  it('is no pattern without a queue', () => {
    expect(() => loadConfig({ RABBITMQ_RESULTS_QUEUES: '=a.#' })).toThrow(/is not of the form queue/);
  });
});

it('RABBITMQ_URL is a secret', () => {
  expect(() => loadConfig({ RABBITMQ_URL: 'http://user:secret@host' })).toThrow(/^(?!.*secret)/s);
});
