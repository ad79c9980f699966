import type { Config } from '../../platform/config.js';
import type { LogInspection, TopicState } from '../../streams/log-inspection.js';
import { pipelineTopicSpecs, systemTopicSpecs, type TopicSpec } from '../../streams/topics.js';
import type { Diagnosis, Notes } from './diagnosis.js';

export interface LogToCheck {
  config: Config;
  log: LogInspection;
  brokers: string[];
  pipelines: readonly string[];
}

/** Copies that outlive the loss of a broker without a pause. */
const safeReplicas = 3;

/** @returns names of the topics that exist, of those that ought to. */
export async function checkTopics(diagnosis: Diagnosis, check: LogToCheck): Promise<Set<string>> {
  const { config, log, brokers, pipelines } = check;
  const notes = diagnosis.notes('topics');
  const specs = [
    ...pipelines.flatMap((name) => pipelineTopicSpecs(name, config.TOPIC_PARTITIONS)),
    ...systemTopicSpecs(),
  ];
  const names = new Set(await log.topicNames());
  const missing = specs.filter(({ name }) => !names.has(name)).map(({ name }) => name);
  if (missing.length > 0)
    notes.warn(
      `There is no topic ${missing.join(', ')} (or it may not be seen)`,
      'Start any role: it creates them. Where it may not: `millrace doctor` lists permissions below.',
    );
  const states = await log.topics(specs.map(({ name }) => name).filter((name) => names.has(name)));
  const brokerIds = new Set(
    states.flatMap(({ partitions }) => partitions.flatMap(({ replicas }) => replicas)),
  );
  let wrong = 0;
  const counted: Notes = {
    ok: (what) => notes.ok(what),
    warn: (what, fix) => (wrong++, notes.warn(what, fix)),
    error: (what, fix) => (wrong++, notes.error(what, fix)),
  };
  for (const state of states) {
    const spec = specs.find(({ name }) => name === state.name);
    if (spec === undefined) continue;
    checkCopies(counted, state, { brokers, brokerCount: brokerIds.size });
    checkSettings(counted, state, spec, brokers);
  }
  checkPartitions(counted, states, pipelines, brokers);
  if (wrong === 0 && states.length > 0)
    notes.ok(`${states.length} topics have the settings that they need, and all their copies`);
  return new Set(states.map(({ name }) => name));
}

function checkCopies(
  notes: Notes,
  { name, partitions, settings }: TopicState,
  { brokers, brokerCount }: { brokers: string[]; brokerCount: number },
): void {
  const leaderless = partitions.filter(({ leader }) => leader < 0).map(({ partition }) => partition);
  if (leaderless.length > 0)
    notes.error(
      `${name}: partition ${leaderless.join(', ')} has no leader: nothing can be written or read`,
      `Start the brokers that have it: \`kafka-topics --bootstrap-server ${brokers.join(',')} --describe --topic ${name}\`.`,
    );
  const behind = partitions.filter(({ replicas, inSync }) => inSync.length < replicas.length);
  if (behind.length > 0)
    notes.warn(
      `${name}: ${behind.length} of ${partitions.length} partitions have copies that are behind or down`,
      'Start the missing brokers; if all run, look at their disks and network.',
    );
  const replicas = Math.min(...partitions.map((each) => each.replicas.length));
  if (brokerCount > 1 && replicas === 1)
    notes.warn(
      `${name}: has one copy: it is lost with its broker`,
      `Set TOPIC_REPLICATION=${safeReplicas} before topics are made; for this one use \`kafka-reassign-partitions\`.`,
    );
  const least = Number(settings?.get('min.insync.replicas') ?? Number.NaN);
  const alter = (value: number): string => alterTopic(brokers, name, 'min.insync.replicas', String(value));
  if (least > replicas)
    notes.error(
      `${name}: min.insync.replicas is ${least} and there are ${replicas} copies: nothing can be written`,
      alter(Math.max(1, replicas - 1)),
    );
  else if (replicas > 1 && least === replicas)
    notes.warn(
      `${name}: min.insync.replicas is ${least}, as many as copies: writing stops with one broker`,
      alter(replicas - 1),
    );
  else if (replicas >= safeReplicas && least === 1)
    notes.warn(
      `${name}: min.insync.replicas is 1: what is acknowledged can be lost with one broker`,
      alter(2),
    );
}

function checkSettings(
  notes: Notes,
  { name, settings }: TopicState,
  { config = {} }: TopicSpec,
  brokers: string[],
): void {
  if (settings === undefined) {
    notes.warn(
      `${name}: its settings may not be seen`,
      'Grant DESCRIBE_CONFIGS on it: see the permissions below.',
    );
    return;
  }
  for (const [setting, wanted] of Object.entries(config)) {
    const actual = settings.get(setting);
    if (actual === wanted || actual === undefined) continue;
    const fix = alterTopic(brokers, name, setting, wanted);
    const is = `${name}: ${setting} is ${actual}, not ${wanted}`;
    if (setting === 'cleanup.policy')
      notes.error(
        wanted === 'compact'
          ? `${is}: the newest state of each key is not kept`
          : `${is}: records with the same key are deleted`,
        fix,
      );
    else if (setting === 'max.message.bytes' && Number(actual) >= Number(wanted)) continue;
    else if (setting === 'max.message.bytes')
      notes.warn(`${is}: a dead letter of a large event may not fit`, fix);
    else if (setting === 'retention.ms' && isLonger(actual, wanted)) continue;
    else if (setting === 'retention.ms') notes.warn(`${is}: what is older can’t be scored again`, fix);
    else notes.warn(is, fix);
  }
  const bytes = settings.get('retention.bytes');
  if (config['retention.ms'] === '-1' && bytes !== undefined && bytes !== '-1')
    notes.warn(
      `${name}: retention.bytes is ${bytes}: what is older than that can’t be scored again`,
      alterTopic(brokers, name, 'retention.bytes', '-1'),
    );
}

/** A partition more of the events is a scorer more, and nothing for those of the results. */
function checkPartitions(
  notes: Notes,
  states: readonly TopicState[],
  pipelines: readonly string[],
  brokers: string[],
): void {
  for (const pipeline of pipelines) {
    const count = (what: string): number =>
      states.find(({ name }) => name === `${pipeline}.${what}`)?.partitions.length ?? 0;
    const [events, predictions] = [count('events'), count('predictions')];
    if (events > 0 && predictions > 0 && predictions < events)
      notes.warn(
        `${pipeline}.predictions has ${predictions} partitions, fewer than the ${events} of its events: sinks can’t share as much as scorers do`,
        `kafka-topics --bootstrap-server ${brokers.join(',')} --alter --topic ${pipeline}.predictions --partitions ${events} (order per key is lost for what is on its way)`,
      );
  }
}

function alterTopic(brokers: string[], topic: string, setting: string, value: string): string {
  return `kafka-configs --bootstrap-server ${brokers.join(',')} --alter --entity-type topics --entity-name ${topic} --add-config ${setting}=${value}`;
}

function isLonger(actual: string, wanted: string): boolean {
  if (wanted === '-1') return false;
  return actual === '-1' || Number(actual) >= Number(wanted);
}
