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

/** Replicas that survive the loss of a broker without a pause. */
const safeReplicas = 3;

/** Checks the topics of Millrace. @returns names of those that exist. */
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
      `Topics do not exist or are not visible: ${missing.join(', ')}`,
      'Start any role: it creates them. See the missing permissions below.',
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
    checkReplicas(counted, state, { brokers, brokerCount: brokerIds.size });
    checkSettings(counted, state, spec, brokers);
  }
  checkPartitions(counted, states, pipelines, brokers);
  if (wrong === 0 && states.length > 0)
    notes.ok(`${states.length} topics have the required settings and all their replicas`);
  return new Set(states.map(({ name }) => name));
}

function checkReplicas(
  notes: Notes,
  { name, partitions, settings }: TopicState,
  { brokers, brokerCount }: { brokers: string[]; brokerCount: number },
): void {
  const leaderless = partitions.filter(({ leader }) => leader < 0).map(({ partition }) => partition);
  if (leaderless.length > 0)
    notes.error(
      `${name}: partition ${leaderless.join(', ')} has no leader and can be neither written nor read`,
      `Start the brokers that hold it: \`kafka-topics --bootstrap-server ${brokers.join(',')} --describe --topic ${name}\`.`,
    );
  const behind = partitions.filter(({ replicas, inSync }) => inSync.length < replicas.length);
  if (behind.length > 0)
    notes.warn(
      `${name}: ${behind.length} of ${partitions.length} partitions have replicas that are behind or down`,
      'Start the missing brokers. If all are running, check their disks and network.',
    );
  const replicas = Math.min(...partitions.map((each) => each.replicas.length));
  if (brokerCount > 1 && replicas === 1)
    notes.warn(
      `${name}: has one replica and is lost with its broker`,
      `Set TOPIC_REPLICATION=${safeReplicas} before topics are created. For this one, use \`kafka-reassign-partitions\`.`,
    );
  const minInSync = Number(settings?.get('min.insync.replicas') ?? Number.NaN);
  const alter = (value: number): string => alterTopic(brokers, name, 'min.insync.replicas', String(value));
  if (minInSync > replicas)
    notes.error(
      `${name}: min.insync.replicas is ${minInSync} with ${replicas} replicas: writes fail`,
      alter(Math.max(1, replicas - 1)),
    );
  else if (replicas > 1 && minInSync === replicas)
    notes.warn(
      `${name}: min.insync.replicas is ${minInSync}, the number of replicas: writes fail when one broker stops`,
      alter(replicas - 1),
    );
  else if (replicas >= safeReplicas && minInSync === 1)
    notes.warn(
      `${name}: min.insync.replicas is 1: acknowledged records can be lost with one broker`,
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
      `${name}: settings are not visible`,
      'Grant DESCRIBE_CONFIGS on the topic: see the permissions below.',
    );
    return;
  }
  for (const [setting, wanted] of Object.entries(config)) {
    const actual = settings.get(setting);
    if (actual === wanted || actual === undefined) continue;
    const fix = alterTopic(brokers, name, setting, wanted);
    const summary = `${name}: ${setting} is ${actual}, not ${wanted}`;
    if (setting === 'cleanup.policy')
      notes.error(
        wanted === 'compact'
          ? `${summary}: the newest state of each key is not kept`
          : `${summary}: records with the same key are deleted`,
        fix,
      );
    else if (setting === 'max.message.bytes' && Number(actual) >= Number(wanted)) continue;
    else if (setting === 'max.message.bytes')
      notes.warn(`${summary}: a dead letter of a large event may not fit`, fix);
    else if (setting === 'retention.ms' && isLonger(actual, wanted)) continue;
    else if (setting === 'retention.ms') notes.warn(`${summary}: older records cannot be scored again`, fix);
    else notes.warn(summary, fix);
  }
  const bytes = settings.get('retention.bytes');
  if (config['retention.ms'] === '-1' && bytes !== undefined && bytes !== '-1')
    notes.warn(
      `${name}: retention.bytes is ${bytes}: deleted records cannot be scored again`,
      alterTopic(brokers, name, 'retention.bytes', '-1'),
    );
}

/** Warns if predictions have fewer partitions than events, which limits the number of sinks. */
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
        `${pipeline}.predictions has ${predictions} partitions, fewer than the ${events} of its events, so fewer sinks than scorers can share the work`,
        `kafka-topics --bootstrap-server ${brokers.join(',')} --alter --topic ${pipeline}.predictions --partitions ${events} (breaks the order per key for records in flight)`,
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
