import { checkPermissions } from './check-log-permissions.js';
import { checkTopics } from './check-topics.js';
import type { Config } from '../../platform/config.js';
import { silentLogger } from '../../platform/logger.js';
import { LogInspection } from '../../streams/log-inspection.js';
import { createStreams } from '../../streams/streams.js';
import { pipelineTopics, scoringGroup, sinkGroup } from '../../streams/topics.js';
import { kafkaSettings } from '../../app/connections.js';
import { describeBeyondEnd, offsetsBeyondEnd } from '../../streams/log-admin.js';
import { attempt, type Diagnosis } from './diagnosis.js';

const slowMs = 1_000;
/** Partitions checked per topic. */
const maxAsked = 6;
/** A scorer's transaction takes a few milliseconds. A larger difference comes from the clocks. */
const transactionMs = 1_000;

/** Checks the brokers, topics, permissions, groups and clock of the log. */
export async function checkLog(
  diagnosis: Diagnosis,
  config: Config,
  brokers: string[],
  pipelines: readonly string[],
): Promise<void> {
  const settings = {
    ...kafkaSettings(config),
    brokers,
    clientId: 'millrace-doctor',
    logger: silentLogger,
    timeoutMs: 3_000,
  };
  const log = new LogInspection(settings);
  try {
    const fix = `Check that the brokers run and KAFKA_BROKERS, KAFKA_TLS and KAFKA_SASL_* are right: \`kcat -L -b ${brokers.join(',')}\`.`;
    const notes = diagnosis.notes('log');
    const isThere = await attempt(
      notes,
      { what: `Cannot use the log at ${brokers.join(', ')}`, fix, timeoutMs: 7_000 },
      async () => {
        for (const { id, address, connectedInMs, error } of await log.brokers()) {
          if (connectedInMs === undefined)
            notes.error(
              `Broker ${id} (${address}): ${error}`,
              `Start broker ${id}, or fix its advertised address.`,
            );
          else if (connectedInMs > slowMs)
            notes.warn(
              `Broker ${id} (${address}) took ${Math.round(connectedInMs)} ms to connect`,
              'Check the network and the load of the broker.',
            );
          else notes.ok(`Broker ${id} (${address}) answers, connected in ${Math.round(connectedInMs)} ms`);
        }
        await checkVersion(diagnosis, log);
      },
    );
    if (!isThere) return;
    await attempt(
      diagnosis.notes('topics'),
      { what: 'Cannot inspect the topics', fix, timeoutMs: 18_000 },
      async () => {
        const existing = await checkTopics(diagnosis, { config, log, brokers, pipelines });
        await Promise.all([
          attempt(
            diagnosis.notes('permissions'),
            { what: 'Cannot check permissions on the log', fix, timeoutMs: 9_000 },
            () => checkPermissions(diagnosis, { config, log, brokers, pipelines, existing }),
          ),
          attempt(
            diagnosis.notes('groups'),
            { what: 'Cannot inspect consumer groups', fix, timeoutMs: 9_000 },
            () => checkGroups(diagnosis, { log, settings, pipelines, existing }),
          ),
          attempt(
            diagnosis.notes('clocks'),
            { what: 'Cannot check the brokers’ clock', fix, timeoutMs: 9_000 },
            () => checkClock(diagnosis, log, pipelines, existing),
          ),
        ]);
      },
    );
  } finally {
    await log.close();
  }
}

async function checkVersion(diagnosis: Diagnosis, log: LogInspection): Promise<void> {
  const notes = diagnosis.notes('log');
  const missing = await log.missingRequests();
  if (missing.length > 0)
    notes.error(
      `The broker does not support requests that Millrace sends: ${missing.join(', ')}`,
      'Use Redpanda, or Apache Kafka 2.8 to 4.2.',
    );
  else notes.ok('The broker supports every request that Millrace sends');
  if (await log.mayDropMarkers())
    notes.warn(
      'The broker is Apache Kafka 4.3 or later. In 4.3.0 to 4.4.0, a transaction can stay open after all replicas of a partition were down, and events get two predictions (KAFKA-20734)',
      'Use Apache Kafka 4.2.1 or Redpanda, unless the release notes of your version list KAFKA-20734 as fixed.',
    );
}

async function checkGroups(
  diagnosis: Diagnosis,
  {
    log,
    settings,
    pipelines,
    existing,
  }: {
    log: LogInspection;
    settings: Parameters<typeof createStreams>[0];
    pipelines: readonly string[];
    existing: ReadonlySet<string>;
  },
): Promise<void> {
  const notes = diagnosis.notes('groups');
  const groups = new Map<string, string[]>([
    ...pipelines.map((pipeline): [string, string[]] => [
      scoringGroup(pipeline),
      [pipelineTopics(pipeline).events],
    ]),
    [
      sinkGroup,
      pipelines.flatMap((pipeline) => {
        const { predictions, deadLetters, outcomes } = pipelineTopics(pipeline);
        return [predictions, deadLetters, outcomes];
      }),
    ],
  ]);
  const streams = createStreams({ ...settings, retries: 1 });
  try {
    const states = await log.groups([...groups.keys()]);
    for (const { groupId, state, members } of states) {
      const topics = (groups.get(groupId) ?? []).filter((topic) => existing.has(topic));
      const lag = (await streams.lag(groupId, topics)).reduce((sum, each) => sum + each.lag, 0);
      const beyond = await offsetsBeyondEnd(streams, groupId, topics);
      for (const each of beyond)
        notes.error(
          describeBeyondEnd(each),
          `Stop \`millrace ${groupId === sinkGroup ? 'sink' : 'process'}\` and reset its offset: see “Reset an offset” in docs/operations.md.`,
        );
      const role = groupId === sinkGroup ? 'sink' : 'process';
      const summary = `${groupId}: ${members} member${members === 1 ? '' : 's'}, ${lag} offset${lag === 1 ? '' : 's'} behind`;
      if (members === 0 && state !== 'PreparingRebalance') {
        const fix = `Start \`millrace ${role}\`, or the whole system with \`npm start\`.`;
        if (lag > 0) notes.error(`${summary}: no consumer is running`, fix);
        else notes.warn(`${summary}: no consumer is running`, fix);
      } else if (state !== 'Stable')
        notes.warn(
          `${summary}, rebalancing (${state})`,
          'Run the doctor again in a minute. If the group is still rebalancing, check the logs of its members.',
        );
      else if (lag > 100_000)
        notes.warn(summary, `Start more instances of \`millrace ${role}\`, at most one per partition.`);
      else notes.ok(summary);
    }
  } finally {
    await streams.close();
  }
}

/**
 * Compares the brokers' clock with the scorers', based on the newest transactions on the predictions topics.
 */
async function checkClock(
  diagnosis: Diagnosis,
  log: LogInspection,
  pipelines: readonly string[],
  existing: ReadonlySet<string>,
): Promise<void> {
  const topics = pipelines
    .map((name) => pipelineTopics(name).predictions)
    .filter((topic) => existing.has(topic));
  const transactions: { aheadMs: number; at: number }[] = [];
  for (const { name, partitions } of await log.topics(topics)) {
    for (const { partition } of partitions.slice(0, maxAsked)) {
      const last = await log.clockAhead(name, partition);
      if (last !== undefined) transactions.push(last);
    }
  }
  const found = transactions.toSorted((one, other) => other.at - one.at)[0];
  if (found === undefined)
    diagnosis.notes('clocks').ok('The brokers’ clock was not compared: the log has no transaction yet');
  else {
    const when = new Date(found.at).toISOString();
    diagnosis.noteSkew(`The brokers’ clock (at ${when})`, 'the scorers’', found.aheadMs, transactionMs);
  }
}
