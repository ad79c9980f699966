import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import { loadContract } from '../../schemas/contracts.js';
import { isDate } from '../../schemas/times.js';
import type { ScheduleRun } from '../../schemas/types.js';
import type { Follower } from '../../streams/topic-tail.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { systemTopics } from '../../streams/topics.js';

export interface ScheduleRunsOptions {
  streams: Streams;
  serde: Serde;
  logger: Logger;
}

/** The last run of every schedule, followed from the log. */
export interface ScheduleRuns extends Follower {
  last(schedule: string): ScheduleRun | undefined;
}

/** Starts to follow; `whenCaughtUp` tells when all runs so far are known. */
export async function followScheduleRuns({
  streams,
  serde,
  logger,
}: ScheduleRunsOptions): Promise<ScheduleRuns> {
  const { type } = loadContract('shared', 'schedule-run');
  const runs = new Map<string, ScheduleRun>();
  const take = async (record: StreamRecord): Promise<void> => {
    try {
      const run = (await serde.decode(record.value, type)) as ScheduleRun;
      if ([run.due_at, run.started_at].every(isDate)) runs.set(run.schedule, run);
    } catch (error) {
      if (!(error instanceof MillraceError) || error.retriable) throw error;
      logger.warn(
        { err: error, topic: record.topic, offset: record.offset },
        'a record is no run of a schedule',
      );
    }
  };
  const follower = await streams.follow({
    topics: [systemTopics.schedules],
    handle: async (records) => {
      for (const record of records) await take(record);
    },
  });
  return {
    last: (schedule) => runs.get(schedule),
    whenCaughtUp: (options) => follower.whenCaughtUp(options),
    status: () => follower.status(),
    stop: () => follower.stop(),
  };
}
