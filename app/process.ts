import { shrinkDeadLetter, smallerDeadLetter } from '../processors/dead-letters/dead-letter.js';
import { StreamScorer } from '../processors/scoring/stream-scorer.js';
import { scoringGroup } from '../streams/topics.js';
import type { Context, Role } from './context.js';
import { watchConsumption } from './health.js';

/** Starts the stream scorers: one consumer group per pipeline, shared by all instances of this role. */
export async function startProcessors(context: Context): Promise<Role> {
  const { config, streams, lag, pipelines } = context;
  const consumptions = await Promise.all(
    [...pipelines.values()].map(async (pipeline) => {
      const { name, topics } = pipeline;
      const scorer = new StreamScorer({ ...context, pipeline });
      const groupId = scoringGroup(name);
      const consumption = await streams.transform({
        groupId,
        topics: [topics.events],
        sessionTimeoutMs: config.KAFKA_SESSION_TIMEOUT_MS,
        process: (records) => scorer.process(records),
        instead: (record, reason, refusals) => smallerDeadLetter(scorer.refused(record, reason), refusals),
        shrink: (record) => (record.topic === topics.deadLetters ? shrinkDeadLetter(record) : record),
        maxRecordBytes: 1_500_000,
      });
      lag.track(groupId, [topics.events]);
      watchConsumption(context, `score ${name}`, consumption);
      return consumption;
    }),
  );
  return {
    stop: async () => void (await Promise.all(consumptions.map((consumption) => consumption.stop()))),
  };
}
