import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { endAfter, endSpan, sendEvents } from '../../platform/tracing/spans.js';
import { tracer } from '../../platform/tracing/traces.js';
import type { ScheduleRun } from '../../schemas/types.js';
import { backoff, pause } from '../../platform/backoff.js';
import type { NewRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { systemTopics } from '../../streams/topics.js';
import { eventRecord } from '../events/envelope.js';
import { scheduledEventId } from '../events/ids.js';
import type { OpenPipeline, RegisteredContract } from '../pipelines/open-pipelines.js';
import { seededRandom } from '../pipelines/sampler.js';
import type { ScheduleRuns } from './schedule-runs.js';
import { type DueRun, dueRun, nextDue, type Schedule } from './schedule.js';

export interface SchedulerOptions {
  schedule: Schedule;
  /** Returns its pipeline. @throws MillraceError `PIPELINE_DOWN`: then due runs wait. */
  pipeline: () => OpenPipeline;
  /** The contract of the records of runs. */
  run: RegisteredContract;
  runs: ScheduleRuns;
  streams: Streams;
  serde: Serde;
  metrics: Metrics;
  logger: Logger;
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/** Maximum time between checks of the clock: it may be set, and machines sleep. */
const maxWaitMs = 60_000;
const catchUpTimeoutMs = 10_000;
const stopMs = 5_000;

/**
 * Runs one schedule. A run is one transaction of its events and its record, under the schedule's
 * transactional id. So each due time gets one run or, when none was possible in time, none, with any number
 * of copies, killed at any moment. Before it commits, a copy has fenced the others and has seen all of their
 * runs.
 */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #now: () => number;
  readonly #since: number;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  #failure: string | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#since = this.#now();
    this.#logger = options.logger.child({ schedule: options.schedule.name });
    this.#running = this.#work();
  }

  /** Why a due run, or the check for one, is not possible at the moment. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Lets a run in progress end, as long as the log answers. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.race([this.#running, sleep(stopMs, undefined, { ref: false })]);
  }

  async #work(): Promise<void> {
    const { runs, schedule } = this.#options;
    const { signal } = this.#stopping;
    let isKnown = false;
    for (let attempt = 0; !signal.aborted;) {
      try {
        if (!isKnown) await runs.whenCaughtUp({ timeoutMs: catchUpTimeoutMs });
        isKnown = true;
        if (this.#due() !== undefined) await this.#run();
        this.#failure = undefined;
        attempt = 0;
        const next = nextDue(schedule, this.#now());
        if (this.#due() === undefined)
          await pause(Math.min((next ?? Infinity) - this.#now(), maxWaitMs), signal);
      } catch (error) {
        // Another copy is running it; its run appears soon, or this one tries again.
        const isOthers = error instanceof MillraceError && error.code === 'LOG_FENCED';
        if (!isOthers) {
          this.#failure = messageOf(error);
          this.#logger.warn(
            { err: error, attempt },
            'a scheduled run failed; it is tried again until the next is due',
          );
        }
        await backoff(attempt++, { signal });
      }
    }
  }

  #due(): DueRun | undefined {
    const { schedule, runs } = this.#options;
    return dueRun(schedule, {
      lastDueAt: runs.last(schedule.name)?.due_at,
      since: this.#since,
      now: this.#now(),
    });
  }

  async #run(): Promise<void> {
    const { schedule, runs, streams, metrics } = this.#options;
    const pipeline = this.#options.pipeline();
    const producer = await streams.createTransactionalProducer(`millrace-schedule-${schedule.name}`);
    try {
      // Only now can no other copy add a run, so a run that is due now is still to be done.
      await runs.whenCaughtUp({ timeoutMs: catchUpTimeoutMs });
      const due = this.#due();
      if (due === undefined) return;
      const startedAt = this.#now();
      const attributes = { 'millrace.schedule.due_at': due.dueAt };
      const span = tracer().startSpan(`run ${schedule.name}`, { attributes, root: true });
      const events = this.#makeEvents(due, pipeline);
      const run: ScheduleRun = {
        schedule: schedule.name,
        pipeline: schedule.pipeline,
        run: (runs.last(schedule.name)?.run ?? 0) + 1,
        due_at: due.dueAt,
        started_at: startedAt,
        events: events.length,
        catch_up: due.catchUp,
      };
      const committing = sendEvents(span, pipeline.topics.events, events, () =>
        producer.commit([...events, this.#toRecord(run)]),
      );
      await endAfter(committing, (error) => endSpan(span, error));
      metrics.scheduledRuns.inc({ schedule: schedule.name, catch_up: String(due.catchUp) });
      metrics.eventsAccepted.inc({ pipeline: pipeline.name, source: this.#source }, events.length);
      this.#logger.info({ run, tookMs: this.#now() - startedAt }, 'scheduled run');
      await runs.whenCaughtUp({ timeoutMs: catchUpTimeoutMs });
    } finally {
      await producer.close();
    }
  }

  /** Returns the same for the same due time, in every copy and attempt. */
  #makeEvents({ dueAt }: DueRun, pipeline: OpenPipeline): NewRecord[] {
    const { schedule, serde } = this.#options;
    const { name, minEvents, maxEvents } = schedule;
    const random = seededRandom(Number.parseInt(scheduledEventId(name, dueAt, -1).slice(0, 8), 16));
    const count = minEvents + Math.floor(random() * (maxEvents - minEvents + 1));
    return Array.from({ length: count }, (_, index) => {
      const fields = pipeline.pipeline.sample?.(random, dueAt);
      if (fields === undefined)
        throw new MillraceError('SCHEDULE_INVALID', `${pipeline.name} makes no samples to schedule.`);
      const eventId = scheduledEventId(name, dueAt, index);
      const event = { eventId, eventTime: dueAt, source: this.#source, fields };
      return eventRecord(pipeline, serde, event);
    });
  }

  #toRecord(run: ScheduleRun): NewRecord {
    const { run: contract, serde } = this.#options;
    return {
      topic: systemTopics.schedules,
      key: run.schedule,
      value: serde.encode(contract.schemaId, contract.type, run),
    };
  }

  get #source(): string {
    return `millrace/schedule/${this.#options.schedule.name}`;
  }
}
