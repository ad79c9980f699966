import { MillraceError } from '../../platform/errors.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';
import { pipelineTopics } from '../../streams/topics.js';
import { openDeadLetter, type StoredDeadLetter } from './dead-letter.js';
import { isResolution, readResolution, type Resolution } from './resolutions.js';

/** Selects dead letters. A missing member matches all. */
export interface DeadLetterFilter {
  ids?: ReadonlySet<string>;
  reasons?: ReadonlySet<string>;
  /** When it failed, milliseconds since 1970: from `since` up to, and not at, `until`. */
  since?: number;
  until?: number;
}

export function matches(
  deadLetter: StoredDeadLetter,
  { ids, reasons, since, until }: DeadLetterFilter,
): boolean {
  return (
    (ids?.has(deadLetter.id) ?? true) &&
    (reasons?.has(deadLetter.reason) ?? true) &&
    deadLetter.failedAt >= (since ?? Number.NEGATIVE_INFINITY) &&
    deadLetter.failedAt < (until ?? Number.POSITIVE_INFINITY)
  );
}

/** A handler's result: `false` stops the reading. */
type GoOn = boolean | void;

/**
 * Returns the newest resolution of each resolved dead letter.
 *
 * @throws MillraceError `LOG_UNAVAILABLE`, retriable; `TOPIC_MISSING`.
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
 * Passes on all dead letters of some pipelines, batch by batch, each once: the sink may have written one
 * twice.
 *
 * @param handle - stops the reading by `false` or an error.
 * @throws MillraceError `LOG_UNAVAILABLE`, retriable; `TOPIC_MISSING`; errors of `handle`.
 */
export async function eachDeadLetter(
  streams: Streams,
  pipelines: readonly string[],
  handle: (deadLetters: StoredDeadLetter[]) => GoOn | Promise<GoOn>,
): Promise<void> {
  const seen = new Set<string>();
  await readDeadLetterTopics(streams, pipelines, async (records, pipeline) => {
    const deadLetters = records
      .filter((record) => !isResolution(record))
      .map((record) => openDeadLetter(record, pipeline))
      .filter(({ id }) => !seen.has(id) && seen.add(id));
    return deadLetters.length === 0 || handle(deadLetters);
  });
}

type Handle = (records: StreamRecord[], pipeline: string) => GoOn | Promise<GoOn>;

/** Reads the topics up to their current end, one batch at a time, however long `handle` takes. */
async function readDeadLetterTopics(
  streams: Streams,
  pipelines: readonly string[],
  handle: Handle,
): Promise<void> {
  await streams.requireTopics(pipelines.map((pipeline) => pipelineTopics(pipeline).deadLetters));
  for (const pipeline of pipelines) {
    const topic = pipelineTopics(pipeline).deadLetters;
    const ends = await streams.ends(topic);
    const spans = ends.map(({ partition, low, high }) => ({ topic, partition, from: low, to: high }));
    let isEnded = false;
    await streams.read(spans, async (records) => {
      isEnded = (await handle(records, pipeline)) === false;
      return !isEnded;
    });
    if (isEnded) return;
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
