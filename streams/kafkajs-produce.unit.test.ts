import { createRequire } from 'node:module';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeProduce, type ProduceFields, type RequestFields, withHeader } from './kafkajs-produce.js';

const require = createRequire(import.meta.url);
const theirRequest: (
  fields: ProduceFields,
) => RequestFields['request'] = require('kafkajs/src/protocol/requests/produce/v7/request');
const theirEncoding: (
  fields: RequestFields,
) => Promise<{ buffer: Buffer }> = require('kafkajs/src/protocol/request');

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
const text = fc.string({ unit: 'binary', maxLength: 100 });
const message = fc.record({
  key: fc.oneof(fc.constant(null), bytes, text),
  value: fc.oneof(fc.constant(null), bytes),
  // All of one length: kafkajs sorts them as texts.
  timestamp: fc.integer({ min: 10 ** 12, max: 10 ** 13 - 1 }).map(String),
  // kafkajs treats inherited members of objects as an earlier header of that name.
  headers: fc.dictionary(
    text.filter((name) => !(name in {})),
    fc.oneof(bytes, text),
    { noNullPrototype: true },
  ),
});
const produce = fc.record({
  acks: fc.constantFrom(-1, 1),
  timeout: fc.nat(),
  transactionalId: fc.oneof(fc.constant(null), text),
  producerId: fc.nat().map(String),
  producerEpoch: fc.nat({ max: 2 ** 15 - 1 }),
  topicData: fc.array(
    fc.record({
      topic: text,
      partitions: fc.array(
        fc.record({
          partition: fc.nat(),
          firstSequence: fc.nat(),
          messages: fc.array(message, { minLength: 1, maxLength: 4 }),
        }),
        { maxLength: 3 },
      ),
    }),
    { maxLength: 3 },
  ),
});

test('encodes the same requests as kafkajs', async () => {
  await fc.assert(
    fc.asyncProperty(produce, fc.nat(), text, async (fields, correlationId, clientId) => {
      const request = { request: theirRequest(fields), correlationId, clientId };
      expect(withHeader(encodeProduce(fields), request)?.buffer).toEqual(
        (await theirEncoding(request)).buffer,
      );
    }),
    { numRuns: 300 },
  );
});

test('with a very long name of the client, the body goes through kafkajs’ own encoder', async () => {
  const fields: ProduceFields = { acks: -1, timeout: 5, topicData: [] };
  const request = { correlationId: 0, clientId: 'c'.repeat(300), request: theirRequest(fields) };
  const body = encodeProduce(fields);
  expect(withHeader(body, request)).toBeUndefined();
  const inPlace = { ...request, request: { ...request.request, encode: () => Promise.resolve(body) } };
  expect((await theirEncoding(inPlace)).buffer).toEqual((await theirEncoding(request)).buffer);
});
