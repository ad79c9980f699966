import { Mutex } from '../platform/mutex.js';
import { shrinkDeadLetter, smallerDeadLetter } from '../processors/dead-letters/dead-letter.js';
import type { OpenPipeline } from '../processors/pipelines/open-pipelines.js';
import { carriedPredictionHeader } from '../processors/scoring/prediction.js';
import { maxRecordBytes, StreamScorer } from '../processors/scoring/stream-scorer.js';
import type { Consumption } from '../streams/consumption.js';
import { pipelineTopics, scoringGroup } from '../streams/topics.js';
import type { Context, Role } from './context.js';
import { watchConsumption } from './health.js';

/**
 * Starts the stream scorers: one consumer group per pipeline, shared by all instances of this role. While a
 * pipeline is down its group does not read, so its events wait on the log.
 */
export async function startProcessors(context: Context): Promise<Role> {
  const { pipelines, lag } = context;
  const running = new Map<string, Consumption>();
  const turns = new Map<string, Mutex>();
  let isStopped = false;
  const stop = async (name: string): Promise<void> => {
    const consumption = running.get(name);
    running.delete(name);
    context.health.remove(partOf(name));
    await consumption?.stop();
  };
  const follow = (name: string): Promise<void> => {
    const turn = turns.get(name) ?? new Mutex();
    turns.set(name, turn);
    return turn.run(async () => {
      const isWanted = pipelines.has(name) && !isStopped;
      if (isWanted && !running.has(name)) running.set(name, await consume(context, name));
      else if (!isWanted) await stop(name);
      if (pipelines.names.includes(name)) lag.track(scoringGroup(name), [pipelineTopics(name).events]);
    });
  };
  const ignore = pipelines.onChange((name) => {
    follow(name).catch((error: unknown) => {
      context.logger.error(
        { err: error, pipeline: name },
        'the scorer of a pipeline cannot be started or stopped',
      );
    });
  });
  await Promise.all(pipelines.names.map(follow));
  return {
    stop: async () => {
      ignore();
      isStopped = true;
      await Promise.all([...turns.keys()].map(follow));
    },
  };
}

function partOf(name: string): string {
  return `score ${name}`;
}

async function consume(context: Context, name: string): Promise<Consumption> {
  const { config, streams } = context;
  const { events, deadLetters } = pipelineTopics(name);
  const scorer = scorerOf(context, name);
  const consumption = await streams.transform({
    groupId: scoringGroup(name),
    topics: [events],
    sessionTimeoutMs: config.KAFKA_SESSION_TIMEOUT_MS,
    process: (records) => scorer().process(records),
    // The client has the prediction that an event carries.
    isAwaited: ({ headers }) => headers?.[carriedPredictionHeader] === undefined,
    instead: (record, reason, refusals) => smallerDeadLetter(scorer().refused(record, reason), refusals),
    shrink: (record) => (record.topic === deadLetters ? shrinkDeadLetter(record) : record),
    maxRecordBytes,
  });
  watchConsumption(context, partOf(name), consumption);
  return consumption;
}

/**
 * Returns the scorer of a pipeline's present form. It throws `PIPELINE_DOWN`, retriable, between two forms.
 */
function scorerOf(context: Context, name: string): () => StreamScorer {
  let current: { pipeline: OpenPipeline; scorer: StreamScorer } | undefined;
  return () => {
    const pipeline = context.pipelines.find(name);
    if (current?.pipeline !== pipeline)
      current = { pipeline, scorer: new StreamScorer({ ...context, pipeline }) };
    return current.scorer;
  };
}
