import type { Permission } from '../../streams/log-permissions.js';
import { pipelineTopics, scoringGroup, sinkGroup, systemTopics } from '../../streams/topics.js';
import type { Diagnosis } from './diagnosis.js';
import type { LogToCheck } from './check-topics.js';

const askedAtOnce = 10;

/**
 * Checks that this user may do what the roles do. Reports the access list entry to add for each denied
 * operation.
 */
export async function checkPermissions(
  diagnosis: Diagnosis,
  { config, log, brokers, pipelines, existing }: LogToCheck & { existing: ReadonlySet<string> },
): Promise<void> {
  const notes = diagnosis.notes('permissions');
  const wanted = permissions(pipelines, existing);
  const denied: Permission[] = [];
  for (let from = 0; from < wanted.length; from += askedAtOnce)
    await Promise.all(
      wanted.slice(from, from + askedAtOnce).map(async (permission) => {
        if (!(await log.isAllowed(permission))) denied.push(permission);
      }),
    );
  const user = config.KAFKA_SASL_USERNAME ?? 'ANONYMOUS';
  for (const { operation, resource, name } of denied)
    notes.error(
      `Kafka does not allow ${operation} on the ${resource} ${name}`,
      `kafka-acls --bootstrap-server ${brokers.join(',')} --add --allow-principal User:${user} --operation ${operation} --${resource} '${name}'`,
    );
  if (denied.length === 0 && wanted.length > 0)
    notes.ok(`Kafka allows all ${wanted.length} operations that the roles need`);
  if (wanted.length === 0) notes.ok('Kafka permissions were not checked: there are no topics yet');
}

function permissions(pipelines: readonly string[], existing: ReadonlySet<string>): Permission[] {
  const topics = [
    ...pipelines.flatMap((name) => Object.values(pipelineTopics(name))),
    ...Object.values(systemTopics),
  ];
  const ofTopics = topics.flatMap((name): Permission[] =>
    existing.has(name)
      ? (['DESCRIBE', 'READ', 'WRITE', 'DESCRIBE_CONFIGS'] as const).map((operation) => ({
          operation,
          resource: 'topic',
          name,
        }))
      : [{ operation: 'CREATE', resource: 'topic', name }],
  );
  // On unused brokers, these requests would create the internal topics for groups and transactions.
  if (existing.size === 0) return ofTopics;
  const groups = [...pipelines.map(scoringGroup), sinkGroup];
  const transactions = pipelines.map((name) => `${scoringGroup(name)}/${pipelineTopics(name).events}/0`);
  return [
    ...ofTopics,
    ...groups.map((name): Permission => ({ operation: 'READ', resource: 'group', name })),
    ...transactions.map((name): Permission => ({ operation: 'WRITE', resource: 'transactional-id', name })),
  ];
}
