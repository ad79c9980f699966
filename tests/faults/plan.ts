import { type RegistryTrouble, registryTroubles } from './registry-proxy.js';

/** The processes of Millrace, by role and number. */
export const members = [
  'serve-1',
  'serve-2',
  'process-1',
  'process-2',
  'process-3',
  'sink-1',
  'sink-2',
] as const;
export type MemberName = (typeof members)[number];
export type Role = 'serve' | 'process' | 'sink';
export type Engine = 'kafka' | 'clickhouse' | 'redis';

/** A fault of one process or engine, which ends `ms` later. */
export type Fault =
  /** kill -9, and a restart. */
  | { kind: 'kill'; member: MemberName; ms: number }
  /** SIGSTOP and SIGCONT. */
  | { kind: 'pause'; member: MemberName; ms: number }
  /**
   * Of its connections to an engine: `reset` cuts them once, `closed` also refuses new ones, `hanging`
   * forwards nothing.
   */
  | { kind: 'cut'; member: MemberName; engine: Engine; how: 'reset' | 'closed' | 'hanging'; ms: number }
  | { kind: 'engine'; engine: Engine; how: 'killed' | 'paused'; ms: number }
  | { kind: 'registry'; trouble: RegistryTrouble; ms: number };

export interface PlannedFault {
  /** After the start of the round, milliseconds. */
  atMs: number;
  fault: Fault;
}

/** Overlapping faults. The next round begins when the system has recovered. */
export type Round = PlannedFault[];

/** The minimum that brokers allow: the time after which a silent process loses its partitions. */
export const sessionTimeoutMs = 6_000;

/**
 * Plans every kind of fault, in an order, on targets and for times that follow from the seed; several at
 * once.
 */
export function makePlan(random: () => number): Round[] {
  const between = (least: number, most: number): number => Math.round(least + random() * (most - least));
  const oneOf = <T>(items: readonly T[]): T => pick(items, random());
  const ofRole = (role: Role): MemberName => oneOf(members.filter((name) => name.startsWith(role)));
  const kill = (role: Role): Fault => ({ kind: 'kill', member: ofRole(role), ms: between(0, 2_000) });
  const pastSession = (role: Role): Fault => ({
    kind: 'pause',
    member: ofRole(role),
    ms: sessionTimeoutMs + between(1_000, 3_000),
  });
  const cut = (role: Role, engine: Engine): Fault => ({
    kind: 'cut',
    member: ofRole(role),
    engine,
    how: oneOf(['reset', 'closed', 'hanging']),
    ms: between(500, 5_000),
  });
  const stop = (engine: Engine, how: 'killed' | 'paused'): Fault => ({
    kind: 'engine',
    engine,
    how,
    ms: between(500, 4_000),
  });
  const faults: Fault[] = [
    kill('process'),
    kill('process'),
    kill('process'),
    kill('sink'),
    kill('sink'),
    kill('serve'),
    kill('serve'),
    pastSession('process'),
    pastSession('sink'),
    { kind: 'pause', member: ofRole('serve'), ms: between(1_000, 4_000) },
    cut('process', 'kafka'),
    cut('sink', 'kafka'),
    cut('serve', 'kafka'),
    cut('sink', 'clickhouse'),
    cut('serve', 'redis'),
    stop('kafka', 'killed'),
    stop('kafka', oneOf(['killed', 'paused'])),
    stop('clickhouse', 'killed'),
    stop('clickhouse', 'paused'),
    stop('redis', 'killed'),
    stop('redis', 'paused'),
    { kind: 'registry', trouble: oneOf(registryTroubles), ms: between(2_000, 5_000) },
    { kind: 'registry', trouble: oneOf(registryTroubles), ms: between(2_000, 5_000) },
  ];
  return deal(shuffle(faults, random), random);
}

/** Groups faults into rounds in which no process and no engine has two faults. */
function deal(faults: Fault[], random: () => number): Round[] {
  const rounds: Round[] = [];
  let left = faults;
  while (left.length > 0) {
    const size = 2 + Math.floor(random() * 5);
    const taken: Fault[] = [];
    const rest: Fault[] = [];
    for (const fault of left) {
      const fits = taken.length < size && taken.every((other) => targetOf(other) !== targetOf(fault));
      (fits ? taken : rest).push(fault);
    }
    rounds.push(taken.map((fault) => ({ atMs: Math.round(random() * 2_000), fault })));
    left = rest;
  }
  return rounds;
}

export function targetOf(fault: Fault): string {
  if ('member' in fault) return fault.member;
  return fault.kind === 'engine' ? fault.engine : fault.kind;
}

/** Describes a fault for people who read along. */
export function describeFault(fault: Fault): string {
  switch (fault.kind) {
    case 'kill':
      return `${fault.member} killed, back after ${fault.ms} ms`;
    case 'pause':
      return `${fault.member} stopped for ${fault.ms} ms`;
    case 'cut':
      return `${fault.member}'s connections to ${fault.engine} ${fault.how}, ${fault.ms} ms`;
    case 'engine':
      return `${fault.engine} ${fault.how} for ${fault.ms} ms`;
    case 'registry':
    default:
      return `registry: ${fault.trouble} for ${fault.ms} ms`;
  }
}

export function pick<T>(items: readonly T[], at: number): T {
  const item = items[Math.floor(at * items.length)];
  if (item === undefined) throw new Error('there is nothing to choose from');
  return item;
}

function shuffle<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
