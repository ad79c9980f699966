import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { vi } from 'vitest';
import { pipelineTopics, scoringGroup } from '../../streams/topics.js';
import { sql } from '../system/audit.js';
import { seededRandom } from '../system/seeded-random.js';
import { type Evidence, gatherEvidence } from './evidence.js';
import { FaultSystem } from './fault-system.js';
import { Ledger } from './ledger.js';
import { LogWriter } from './log-writer.js';
import { killPrograms } from '../system/programs.js';
import { describeFault, type Fault, makePlan, type Round } from './plan.js';
import { Reference } from './reference.js';
import { pipelineNames, Samples } from './samples.js';
import { Traffic } from './traffic.js';
import { type Verdict, verify } from './verify.js';

/** Figures of one run, and all problems. */
export interface RunReport {
  seed: number;
  /** Event records on the log. */
  events: number;
  accepted: number;
  predictions: number;
  deadLetters: number;
  kills: Record<string, number>;
  pauses: Record<string, number>;
  cuts: Record<string, number>;
  engineStops: Record<string, number>;
  registryTroubles: number;
  registryRequestsFailed: number;
  rebalances: number;
  repeatedRequests: number;
  repeatedEvents: number;
  refused: number;
  duplicates: number;
  losses: number;
  /** From the first fault to the last row. */
  seconds: number;
  slowestRecoverySeconds: number;
  problems: string[];
  /** Folder with the logs of all processes, when there are problems. */
  logs?: string;
}

/**
 * Less than the 60 s for which a broker keeps the open transaction of a killed owner: no process may have to
 * wait for that.
 */
const recoveryTimeoutMs = 45_000;
/** Time limit for clients to send the missing events once the faults are over. */
const sendingTimeoutMs = 180_000;

/** Runs the whole system under load and the faults of a seed, and checks the results. */
export class Run {
  readonly #seed: number;
  readonly #minEvents: number;
  readonly #ledger = new Ledger();
  readonly #problems: string[] = [];
  readonly #counts = { kill: {}, pause: {}, cut: {}, engine: {}, registry: {} } as Record<
    Fault['kind'],
    Record<string, number>
  >;
  readonly #system: FaultSystem;
  readonly #writer: LogWriter;
  readonly #traffic: Traffic;
  #schemas = 0;
  #probes = 0;
  #slowestRecoveryMs = 0;

  private constructor(
    { seed, minEvents }: RunOptions,
    system: FaultSystem,
    writer: LogWriter,
    samples: Samples,
  ) {
    this.#seed = seed;
    this.#minEvents = minEvents;
    this.#system = system;
    this.#writer = writer;
    const copies = system.members.filter(({ role }) => role === 'serve').map(({ http }) => http);
    this.#traffic = new Traffic({ seed, samples, ledger: this.#ledger, copies, writer });
  }

  static async carryOut(options: RunOptions): Promise<RunReport> {
    const folder = await mkdtemp(join(tmpdir(), `millrace-faults-${options.seed}-`));
    let system: FaultSystem | undefined;
    let writer: LogWriter | undefined;
    try {
      system = await FaultSystem.start(folder);
      writer = await LogWriter.open(system.direct);
      const run = new Run(options, system, writer, await Samples.load());
      const report = await run.#carryOut(makePlan(seededRandom(options.seed)));
      if (report.problems.length > 0) {
        report.logs = await mkdtemp(join(tmpdir(), `millrace-faults-failed-${options.seed}-`));
        await system.keepLogs(report.logs);
        await writeFile(join(report.logs, 'problems.txt'), report.problems.join('\n'));
      }
      return report;
    } finally {
      await writer?.streams.close();
      await system?.stop();
      await killPrograms();
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #carryOut(plan: Round[]): Promise<RunReport> {
    this.#traffic.start();
    await this.#recover('the start');
    const startedAt = performance.now();
    this.#slowestRecoveryMs = 0;
    try {
      for (const [index, round] of plan.entries()) {
        this.#traffic.slowDownAfter(this.#minEvents / plan.length);
        await this.#ride(`round ${index + 1} of ${plan.length}`, round);
      }
      this.#traffic.slowDownAfter(this.#minEvents);
      await vi.waitFor(() => this.#enough(), { timeout: sendingTimeoutMs, interval: 100 });
      await this.#traffic.stop();
      await this.#recover('the end');
      await vi.waitFor(() => this.#caughtUp(), { timeout: recoveryTimeoutMs, interval: 200 });
    } catch (error) {
      this.#problems.push(error instanceof Error ? error.message : String(error));
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const evidence = await gatherEvidence(this.#writer, this.#system.direct.clickhouse);
    const verdict = verify(this.#ledger, evidence, await this.#reference(evidence));
    await this.#examineProcesses();
    return this.#report(evidence, verdict, seconds);
  }

  #enough(): void {
    if (this.#ledger.accepted < this.#minEvents)
      throw new Error(`${this.#ledger.accepted} events were accepted`);
  }

  async #ride(name: string, round: Round): Promise<void> {
    for (const { atMs, fault } of round) this.#say(`${name}: at ${atMs} ms ${describeFault(fault)}`);
    await Promise.all(
      round.map(async ({ atMs, fault }) => {
        await sleep(atMs);
        await this.#inflict(fault);
      }),
    );
    await this.#recover(name);
  }

  /** Resolves when the fault is over. */
  async #inflict(fault: Fault): Promise<void> {
    this.#count(fault);
    const { registry } = this.#system;
    switch (fault.kind) {
      case 'kill': {
        const member = this.#system.member(fault.member);
        await member.kill();
        await sleep(fault.ms);
        member.start();
        break;
      }
      case 'pause': {
        const { program } = this.#system.member(fault.member);
        program.signal('SIGSTOP');
        await sleep(fault.ms);
        program.signal('SIGCONT');
        break;
      }
      case 'cut':
        await this.#system.member(fault.member).cut(fault.engine, fault.how, fault.ms);
        break;
      case 'engine':
        if (fault.how === 'killed') await this.#system.killEngine(fault.engine);
        else await this.#system.pauseEngine(fault.engine);
        await sleep(fault.ms);
        if (fault.how === 'killed') await this.#system.startEngine(fault.engine);
        else await this.#system.resumeEngine(fault.engine);
        break;
      case 'registry':
        registry.trouble = fault.trouble;
        // Known schemas need no registry.
        this.#schemas++;
        for (const pipeline of pipelineNames) await this.#writer.useNewSchema(pipeline, this.#schemas);
        await sleep(fault.ms);
        registry.heal();
        break;
    }
  }

  #count(fault: Fault): void {
    const counts = this.#counts[fault.kind];
    const name =
      fault.kind === 'engine'
        ? `${fault.engine} ${fault.how}`
        : fault.kind === 'registry'
          ? fault.trouble
          : fault.kind === 'cut'
            ? `${roleOf(fault.member)} ${fault.engine} ${fault.how}`
            : roleOf(fault.member);
    counts[name] = (counts[name] ?? 0) + 1;
  }

  /**
   * Resolves once new events, one for each partition of each pipeline, have their rows.
   *
   * @throws when that takes too long: something is stuck.
   */
  async #recover(after: string): Promise<void> {
    const startedAt = performance.now();
    const producer = await this.#writer.producer();
    const random = seededRandom(this.#seed - ++this.#probes);
    const events = pipelineNames.flatMap((pipeline) =>
      Array.from({ length: FaultSystem.partitions }, (_, partition) => ({
        partition,
        event: this.#ledger.send(this.#traffic.make(pipeline, random)),
      })),
    );
    await producer.send(events.map(({ event, partition }) => ({ ...this.#writer.record(event), partition })));
    await producer.close();
    for (const { event } of events) this.#ledger.accept(event);
    const list = events.map(({ event }) => `'${event.id}'`).join(',');
    const query = `SELECT partition, pipeline FROM millrace.predictions WHERE event_id IN (${list})`;
    await vi.waitFor(
      async () => {
        const rows = await sql(this.#system.direct.clickhouse, query);
        if (rows.length < events.length)
          throw new Error(
            `after ${after} ${events.length - rows.length} of ${events.length} partitions stand still; those that don't: ${JSON.stringify(rows)}`,
          );
      },
      { timeout: recoveryTimeoutMs, interval: 50 },
    );
    const ms = performance.now() - startedAt;
    this.#slowestRecoveryMs = Math.max(this.#slowestRecoveryMs, ms);
    this.#say(`after ${after} recovered in ${Math.round(ms)} ms; ${this.#ledger.accepted} events accepted`);
    // In addition, a restarted process must be ready, so that the next fault does not hit it while it starts.
    await this.#system.whenReady();
  }

  async #caughtUp(): Promise<void> {
    const groups = [
      ...pipelineNames.map((name) => ({ group: scoringGroup(name), topics: [pipelineTopics(name).events] })),
      {
        group: 'millrace-sink',
        topics: pipelineNames.flatMap((name) => [
          pipelineTopics(name).predictions,
          pipelineTopics(name).deadLetters,
        ]),
      },
    ];
    for (const { group, topics } of groups) {
      const behind = (await this.#writer.streams.lag(group, topics)).filter(({ lag }) => lag > 0);
      if (behind.length > 0) throw new Error(`${group} is behind: ${JSON.stringify(behind)}`);
    }
  }

  async #reference({ predictionRows }: Evidence): Promise<(pipeline: string, fields: object) => number> {
    const reference = await Reference.open();
    const scores = new Map<string, number>();
    const events = [
      ...this.#ledger.events.values(),
      ...predictionRows
        .filter(({ event_id }) => !this.#ledger.events.has(event_id))
        .map(({ pipeline, features }) => ({
          pipeline,
          fields: JSON.parse(features) as object,
          reason: undefined,
        })),
    ];
    for (const { pipeline, fields, reason } of events)
      if (reason === undefined)
        scores.set(JSON.stringify([pipeline, fields]), await reference.score(pipeline, fields));
    return (pipeline, fields) => scores.get(JSON.stringify([pipeline, fields])) ?? Number.NaN;
  }

  /** Stops them in order, and returns their output. */
  async #examineProcesses(): Promise<void> {
    const { members } = this.#system;
    await Promise.all(
      members.map(async (member) => {
        const how = await member.stop();
        if (how !== 0) this.#problems.push(`${member.name} ended with ${how} when it was asked to`);
      }),
    );
    for (const { deaths, lives } of members) {
      this.#problems.push(...deaths);
      for (const { name, program } of lives)
        for (const line of program.output().split('\n'))
          if (isAlarming(line)) this.#problems.push(`${name} wrote: ${line.slice(0, 500)}`);
    }
  }

  #report(evidence: Evidence, verdict: Verdict, seconds: number): RunReport {
    const kills = { ...this.#counts.kill };
    const named = Object.entries(verdict).flatMap(([kind, list]: [string, string[]]) => [
      ...list.slice(0, 20).map((problem) => `${kind}: ${problem}`),
      ...(list.length > 20 ? [`${kind}: ${list.length - 20} more`] : []),
    ]);
    return {
      seed: this.#seed,
      events: evidence.events.length,
      accepted: this.#ledger.accepted,
      predictions: evidence.predictionRows.length,
      deadLetters: evidence.deadLetterRows.length,
      kills,
      pauses: this.#counts.pause,
      cuts: this.#counts.cut,
      engineStops: this.#counts.engine,
      registryTroubles: Object.values(this.#counts.registry).reduce((sum, count) => sum + count, 0),
      registryRequestsFailed: this.#system.registry.failed,
      rebalances: this.#rebalances(),
      repeatedRequests: this.#ledger.repeatedRequests,
      repeatedEvents: this.#ledger.repeatedEvents,
      refused: this.#ledger.refused,
      duplicates: verdict.duplicates.length,
      losses: verdict.losses.length,
      seconds: Math.round(seconds * 10) / 10,
      slowestRecoverySeconds: Math.round(this.#slowestRecoveryMs / 100) / 10,
      problems: [...this.#problems, ...this.#ledger.problems, ...named],
    };
  }

  /** Generations of the groups that share work: each has one leader, which logs it. */
  #rebalances(): number {
    const isNew = (line: string): boolean =>
      line.includes('"isLeader":true') && /"group":"millrace-(?:score-|sink)/.test(line);
    const outputs = this.#system.members.flatMap(({ lives }) => lives.map(({ program }) => program.output()));
    return outputs.flatMap((output) => output.split('\n')).filter(isNew).length;
  }

  #say(what: string): void {
    console.info(`[${this.#seed}] ${what}`);
  }
}

export interface RunOptions {
  seed: number;
  /** Number of events that must be accepted before the run may end. */
  minEvents: number;
}

function roleOf(member: string): string {
  return member.split('-')[0] ?? member;
}

/**
 * Whether no process may write a log line, whatever happens to it: its own errors, and unexpected ones.
 */
function isAlarming(line: string): boolean {
  if (line.startsWith('{')) return /"level":[56]0/.test(line);
  return /unhandled|uncaught|Warning: |FATAL ERROR|^\w*Error\b/i.test(line);
}
