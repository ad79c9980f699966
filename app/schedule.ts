import type { PartHealth } from '../platform/health.js';
import { MillraceError } from '../platform/errors.js';
import { retryForever } from '../platform/retry.js';
import type { OpenPipeline } from '../processors/pipelines/open-pipelines.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import { followScheduleRuns } from '../processors/schedules/schedule-runs.js';
import { type Schedule, schedulesOf } from '../processors/schedules/schedule.js';
import { Scheduler } from '../processors/schedules/scheduler.js';
import { loadContract } from '../schemas/contracts.js';
import { systemTopics } from '../streams/topics.js';
import type { Context, Role } from './context.js';

/** Writes sample events to the log on a schedule. Each run is done by one instance. */
export async function startSchedules(
  context: Context,
  schedules: readonly Schedule[] = schedulesOf(context.config, context.pipelines.names),
): Promise<Role> {
  const { serde, pipelines, health } = context;
  const on = schedules.filter(({ cron }) => cron !== null);
  if (on.length === 0) return { stop: () => undefined };
  const contract = loadContract('shared', 'schedule-run');
  const schemaId = await retryForever('Registering the schema of scheduled runs', context, () =>
    serde.register(systemTopics.schedules, contract.type),
  );
  const runs = await followScheduleRuns(context);
  const schedulers = on.map((schedule) => {
    const pipeline = (): OpenPipeline => pipelineOf(schedule, pipelines);
    const scheduler = new Scheduler({ ...context, schedule, pipeline, runs, run: { ...contract, schemaId } });
    const failure = (): 'degraded' | 'down' => (pipelines.has(schedule.pipeline) ? 'down' : 'degraded');
    health.add(`schedule ${schedule.name}`, (): PartHealth =>
      scheduler.failure === undefined ? { status: 'up' } : { status: failure(), detail: scheduler.failure },
    );
    return scheduler;
  });
  return {
    stop: async () => {
      await Promise.all(schedulers.map((scheduler) => scheduler.stop()));
      await runs.stop();
    },
  };
}

function pipelineOf({ name, pipeline }: Schedule, pipelines: Pipelines): OpenPipeline {
  const open = pipelines.find(pipeline);
  if (open.pipeline.sample !== undefined) return open;
  throw new MillraceError(
    'SCHEDULE_INVALID',
    `The schedule ${name} for ${pipeline} is invalid: the pipeline makes no samples.`,
  );
}
