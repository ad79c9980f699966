import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { apis } from './apis/index.js';
import { KafkaBroker } from './broker.js';
import { Frames } from './network/frames.js';
import { Reader } from './protocol/reader.js';
import { inventFrame } from './testing/frame-generator.js';
import { textBatch, WireClient } from './testing/wire-client.js';

// MILLRACE_FUZZ_RUNS=100000 MILLRACE_FUZZ_SEED=… for a long search, or to reproduce a failure.
const runs = Number(process.env['MILLRACE_FUZZ_RUNS'] ?? 1000);
const seed = Number(process.env['MILLRACE_FUZZ_SEED'] ?? 1);
const timeout = 60_000 + runs * 20;

const extremes = [0, -1, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, -0x8000_0000, 0x0100_0000];
const memberMetadata = Buffer.from('0000000000010001740000ffffffff', 'hex');
const byteStrings = [
  textBatch(['a', 'b']),
  textBatch(['c'], { producerId: 1, producerEpoch: 0, baseSequence: 0 }),
  textBatch(['not compressed at all'], { attributes: 1 }),
  textBatch(['nor that'], { attributes: 4 }),
  memberMetadata,
  Buffer.from('\0ada\0password'),
];

type Mutation = { at: number } & (
  { flip: number } | { put: number } | { cut: true } | { insert: Uint8Array }
);

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ at: fc.nat(), flip: fc.nat(7) }),
  fc.record({ at: fc.nat(), put: fc.constantFrom(...extremes) }),
  fc.record({ at: fc.nat(), cut: fc.constant(true as const) }),
  fc.record({ at: fc.nat(), insert: fc.uint8Array({ minLength: 1, maxLength: 20 }) }),
);

/** A valid frame with a few wrong bytes. */
const garbledFrame = fc
  .record({
    request: fc.constantFrom(
      ...apis.flatMap((api) =>
        Array.from({ length: api.maxVersion - api.minVersion + 1 }, (_, i) => ({
          api,
          version: api.minVersion + i,
        })),
      ),
    ),
    choices: fc.array(fc.nat(), { minLength: 8, maxLength: 60 }),
    mutations: fc.array(mutation, { maxLength: 4 }),
    keepLength: fc.boolean(),
  })
  .map(({ request: { api, version }, choices, mutations, keepLength }) => {
    let next = 0;
    const choose = (below: number): number => (choices[next++ % choices.length] ?? 0) % below;
    const frame = mutations.reduce(garble, inventFrame(api, version, choose, byteStrings));
    // Usually the length is right, so that the damage reaches the decoder.
    if (!keepLength && frame.length >= 4) frame.writeInt32BE(frame.length - 4, 0);
    return { api, version, frame };
  });

test.each(apis.map((api) => [api.name, api] as const))(
  '%s: its decoder reads its own values again in each version',
  (_name, api) => {
    for (let version = api.minVersion; version <= api.maxVersion; version++) {
      let step = version;
      const frame = inventFrame(
        api,
        version,
        (below) => (step = (step * 31 + 7) % 1009) % below,
        byteStrings,
      );
      const reader = readerOf(frame, version >= api.flexibleFrom);
      api.decode(reader, version);
      expect(reader.remaining, `${api.name} ${version}`).toBe(0);
    }
  },
);

test(
  `${runs} garbled frames: a decoder reads them or says that they are malformed (seed ${seed})`,
  { timeout },
  () => {
    fc.assert(
      fc.property(garbledFrame, ({ api, version, frame }) => {
        try {
          for (const each of new Frames(1024 * 1024).push(frame)) {
            if (each.length < 8) continue;
            api.decode(
              readerOf(Buffer.concat([Buffer.alloc(4), each]), version >= api.flexibleFrom),
              version,
            );
          }
        } catch (error) {
          if (!(error instanceof MillraceError)) throw error;
        }
      }),
      { numRuns: runs * 10, seed },
    );
  },
);

test(
  `${runs} garbled frames: the broker answers or closes, and continues (seed ${seed})`,
  { timeout },
  async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'millrace-fuzz-'));
    const broker = new KafkaBroker({ dataDir, port: 0 });
    const { port } = await broker.start();
    const steady = await WireClient.connect(port);
    await steady.createTopic('t', 2);
    const before = process.memoryUsage().rss;
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(garbledFrame, { minLength: 1, maxLength: 3 }), async (frames) => {
          const bad = await WireClient.connect(port);
          bad.sendRaw(Buffer.concat(frames.map(({ frame }) => frame)));
          bad.end();
          await bad.closed();
          expect((await steady.call(18, 0, () => undefined)).int16()).toBe(0);
        }),
        { numRuns: runs, seed },
      );
      await steady.createTopic('u');
      expect(await steady.produce('u', 0, textBatch(['fine']))).toMatchObject({ errorCode: 0 });
      expect((await steady.readAll('u', 0, true)).map(({ value }) => value)).toEqual(['fine']);
      expect(process.memoryUsage().rss - before).toBeLessThan(512 * 1024 * 1024);
    } finally {
      steady.close();
      await broker.stop();
      await rm(dataDir, { recursive: true, force: true });
    }
  },
);

function readerOf(frame: Buffer, flexible: boolean): Reader {
  const reader = new Reader(frame, 12);
  reader.headerString();
  reader.flexible = flexible;
  reader.tags();
  return reader;
}

function garble(frame: Buffer, change: Mutation): Buffer {
  if (frame.length === 0) return frame;
  const at = change.at % frame.length;
  if ('cut' in change) return frame.subarray(0, at);
  if ('insert' in change) return Buffer.concat([frame.subarray(0, at), change.insert, frame.subarray(at)]);
  const garbled = Buffer.from(frame);
  if ('flip' in change) garbled[at] = (garbled[at] ?? 0) ^ (1 << change.flip);
  else if (at + 4 <= garbled.length) garbled.writeInt32BE(change.put, at);
  return garbled;
}
