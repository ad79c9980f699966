import { MillraceError } from '../platform/errors.js';
import type { StreamRecord } from '../streams/records.js';
import type { Streams } from '../streams/streams.js';
import { pipelineTopics } from '../streams/topics.js';
import { openDeadLetter, type StoredDeadLetter } from './dead-letters.js';
import { isResolution, readResolution, type Resolution } from './resolutions.js';

/** Which dead letters are meant. What is not given does not matter. */
export interface DeadLetterFilter {
  ids?: ReadonlySet<string>;
  reasons?: ReadonlySet<string>;
  /** When it failed, milliseconds since 1970: from `since` up to, and not at, `until`. */
  since?: number;
  until?: number;
}

export function matches(letter: StoredDeadLetter, { ids, reasons, since, until }: DeadLetterFilter): boolean {
  return (
    (ids?.has(letter.id) ?? true) &&
    (reasons?.has(letter.reason) ?? true) &&
    letter.failedAt >= (since ?? Number.NEGATIVE_INFINITY) &&
    letter.failedAt < (until ?? Number.POSITIVE_INFINITY)
  );
}

/**
 * The newest resolution of each dead letter that has one.
 *
 * @throws MillraceError `LOG_UNAVAILABLE`, retriable.
 */
export async function readResolutions(
  streams: Streams,
  pipelines: readonly string[],
): Promise<Map<string, Resolution>> {
  const resolutions = new Map<string, Resolution>();
  await readDeadLetterTopics(streams, pipelines, (records, pipeline) => {
    for (const record of records.filter(isResolution)) {
      const resolution = readOrUndefined(record, pipeline);
      if (resolution !== undefined) resolutions.set(resolution.deadLetterId, resolution);
    }
  });
  return resolutions;
}

/**
 * Hands over all dead letters of some pipelines, one batch after the other, each once: the sink may have written one twice.
 *
 * @param handle - what it throws ends the reading.
 * @throws MillraceError `LOG_UNAVAILABLE`, retriable; what `handle` throws.
 */
export async function eachDeadLetter(
  streams: Streams,
  pipelines: readonly string[],
  handle: (letters: StoredDeadLetter[]) => void | Promise<void>,
): Promise<void> {
  const seen = new Set<string>();
  await readDeadLetterTopics(streams, pipelines, async (records, pipeline) => {
    const letters = records
      .filter((record) => !isResolution(record))
      .map((record) => openDeadLetter(record, pipeline))
      .filter(({ id }) => !seen.has(id) && seen.add(id));
    if (letters.length > 0) await handle(letters);
  });
}

type Handle = (records: StreamRecord[], pipeline: string) => void | Promise<void>;

/** Reads the topics to where they end now, one batch at a time, however long `handle` takes. */
async function readDeadLetterTopics(
  streams: Streams,
  pipelines: readonly string[],
  handle: Handle,
): Promise<void> {
  const pipelineOf = new Map(pipelines.map((pipeline) => [pipelineTopics(pipeline).deadLetters, pipeline]));
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => (fail = reject));
  let handling = Promise.resolve();
  let ended = false;
  const handleNext = async (records: StreamRecord[]): Promise<void> => {
    const [first] = records;
    if (ended || first === undefined) return;
    try {
      await handle(records, pipelineOf.get(first.topic) ?? '');
    } catch (error) {
      ended = true;
      fail(error);
    }
  };
  const follower = await streams.follow({
    topics: [...pipelineOf.keys()],
    // Partitions come at the same time; whoever handles them counts and paces over all.
    handle: (records) => (handling = handling.then(() => handleNext(records))),
  });
  try {
    await Promise.race([follower.whenCaughtUp({ timeoutMs: Number.POSITIVE_INFINITY }), failed]);
  } finally {
    ended = true;
    await follower.stop();
  }
}

function readOrUndefined(record: StreamRecord, pipeline: string): Resolution | undefined {
  try {
    return readResolution(record, pipeline);
  } catch (error) {
    if (error instanceof MillraceError) return undefined;
    throw error;
  }
}
