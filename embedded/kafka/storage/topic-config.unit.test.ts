import { expect, test } from 'vitest';
import { ignoredSettings, refusalOf, topicConfigs } from './topic-config.js';

test('every default is a valid value', () => {
  const defaults = Object.entries(topicConfigs).map(([name, definition]) => [name, definition.default]);
  expect(refusalOf(Object.fromEntries(defaults))).toBeUndefined();
});

test.each([
  ['compression.type', 'zstd'],
  ['compression.type', 'uncompressed'],
  ['compression.type', 'none'],
  ['unclean.leader.election.enable', 'true'],
  ['flush.messages', '1'],
  ['flush.ms', '9223372036854775807'],
  ['index.interval.bytes', '4096'],
  ['min.cleanable.dirty.ratio', '0.01'],
  ['retention.ms', '9223372036854775807'],
])('%s=%s is accepted, as by Kafka', (name, value) => {
  expect(refusalOf({ [name]: value })).toBeUndefined();
});

test.each([
  ['compression.type', 'brotli'],
  ['unclean.leader.election.enable', 'maybe'],
  ['flush.messages', '0'],
  ['min.cleanable.dirty.ratio', '1.5'],
  ['retention.ms', '9223372036854775808'],
  ['segment.bytes', '2147483648'],
  ['min.insync.replicas', '2'],
  ['remote.storage.enable', 'true'],
  ['no.such.setting', '1'],
])('%s=%s is refused', (name, value) => {
  expect(refusalOf({ [name]: value })).toContain(name);
});

test('settings with unsupported values are named', () => {
  const values = { 'compression.type': 'zstd', 'flush.ms': '1000', 'retention.ms': '1000' };
  expect(ignoredSettings(values)).toEqual(['compression.type', 'flush.ms']);
  expect(ignoredSettings({ 'compression.type': 'producer', preallocate: 'false' })).toEqual([]);
});
