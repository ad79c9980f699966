import { Cron } from 'croner';
import type { Config } from '../../platform/config.js';

/** When sample events of a pipeline are made, and how many at a time. */
export interface Schedule {
  /** Its name in ids, transactions and answers, which never changes. */
  name: string;
  pipeline: string;
  /** Cron pattern of five fields, or six with seconds first. `null`: it does not run. */
  cron: string | null;
  /** IANA name. */
  timeZone: string;
  minEvents: number;
  maxEvents: number;
}

/** A run that is due. */
export interface DueRun {
  /** Milliseconds since 1970, UTC. */
  dueAt: number;
  /** Whether it also makes up for missed times: while no scheduler ran, or while it could not work. */
  catchUp: boolean;
}

/** Returns the schedules of the settings whose pipelines exist. @param pipelines - names of all. */
export function schedulesOf(config: Config, pipelines: readonly string[]): Schedule[] {
  const schedules: Schedule[] = [
    {
      name: 'taxi-rides',
      pipeline: 'taxi-trip-duration',
      cron: config.TAXI_SCHEDULE === 'off' ? null : config.TAXI_SCHEDULE,
      timeZone: config.SCHEDULE_TIME_ZONE,
      minEvents: config.TAXI_SCHEDULE_MIN_RIDES,
      maxEvents: config.TAXI_SCHEDULE_MAX_RIDES,
    },
  ];
  return schedules.filter(({ pipeline }) => pipelines.includes(pipeline));
}

/**
 * Returns the run that is due, if any: for the newest due time that has passed and has had none. That one run
 * makes up for earlier missed ones. A schedule that never ran starts with its first due time after `since`.
 *
 * @param lastDueAt - of the last run, if there was one.
 * @param since - when this process began.
 */
export function dueRun(
  schedule: Schedule,
  { lastDueAt, since, now }: { lastDueAt: number | undefined; since: number; now: number },
): DueRun | undefined {
  const after = lastDueAt ?? since;
  // The time itself does not count as before it.
  const [dueAt, before] =
    patternOf(schedule)
      ?.previousRuns(2, new Date(now + 1))
      .map(Number) ?? [];
  if (dueAt === undefined || dueAt <= after) return undefined;
  return { dueAt, catchUp: dueAt < since || (before !== undefined && before > after) };
}

/** Returns the first due time after a time; undefined if there is none. Both milliseconds since 1970, UTC. */
export function nextDue(schedule: Schedule, after: number): number | undefined {
  return patternOf(schedule)?.nextRun(new Date(after))?.getTime();
}

function patternOf({ cron, timeZone }: Schedule): Cron | undefined {
  return cron === null ? undefined : new Cron(cron, { timezone: timeZone, paused: true });
}
