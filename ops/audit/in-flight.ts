import type { AuditQueries } from '../../analytics/audit-queries.js';
import { readDeadLetter } from '../../processors/dead-letters/dead-letter.js';
import { isResolution } from '../../processors/dead-letters/resolutions.js';
import type { Contract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import type { PipelineTopics } from '../../streams/topics.js';
import { MillraceError } from '../../platform/errors.js';
import type { Bounds } from './bounds.js';
import { PartitionOffsets } from './offset-set.js';

/**
 * Decodes a prediction. Returns `undefined` if it is not one. @throws MillraceError if the registry is
 * unavailable.
 */
export async function readPrediction(
  serde: Serde,
  { type }: Contract,
  value: Buffer | null,
): Promise<Prediction | undefined> {
  try {
    return (await serde.decode(value, type)) as Prediction;
  } catch (error) {
    if (error instanceof MillraceError && !error.retriable) return undefined;
    throw error;
  }
}

/** Events and outcomes that may lack a row. */
export interface InFlight {
  /** Their prediction or dead letter is on the log, but not yet processed by the sink. */
  inFlight: (record: StreamRecord) => boolean;
  /** Their prediction could not be stored and became a dead letter. */
  unfit: (record: StreamRecord) => boolean;
}

/** Reads what the sink has yet to process, and its own dead letters. */
export async function readInFlight({
  streams,
  serde,
  prediction,
  queries,
  topics,
  predictions,
  deadLetters,
}: {
  streams: Streams;
  serde: Serde;
  prediction: Contract;
  queries: AuditQueries;
  topics: PipelineTopics;
  predictions: readonly Bounds[];
  deadLetters: readonly Bounds[];
}): Promise<InFlight> {
  const inFlight = new Map([topics.events, topics.outcomes].map((topic) => [topic, new PartitionOffsets()]));
  const unfit = new PartitionOffsets();
  const add = (set: PartitionOffsets | undefined, partition: number, offset: number): void => {
    if (partition >= 0 && offset >= 0) set?.add(partition, offset);
  };
  await streams.read(tails(topics.predictions, predictions), async (records) => {
    for (const { value } of records) {
      const read = await readPrediction(serde, prediction, value);
      if (read !== undefined && read.role !== 'shadow')
        add(inFlight.get(read.topic), read.partition, read.offset);
    }
  });
  const addUnfit = async (value: Buffer | null): Promise<void> => {
    const read = await readPrediction(serde, prediction, value);
    if (read !== undefined && read.topic === topics.events) add(unfit, read.partition, read.offset);
  };
  await streams.read(tails(topics.deadLetters, deadLetters), async (records) => {
    for (const record of records) {
      if (isResolution(record)) continue;
      const { topic, partition, offset } = readDeadLetter(record, '');
      if (topic === topics.predictions) await addUnfit(record.value);
      else add(inFlight.get(topic), partition, offset);
    }
  });
  for await (const value of queries.deadLetterValues(topics.predictions)) await addUnfit(value);
  return {
    inFlight: ({ topic, partition, offset }) => inFlight.get(topic)?.has(partition, offset) ?? false,
    unfit: ({ topic, partition, offset }) => topic === topics.events && unfit.has(partition, offset),
  };
}

function tails(topic: string, bounds: readonly Bounds[]) {
  return bounds.map(({ partition, to, end }) => ({ topic, partition, from: to, to: end }));
}
