import type { Config } from '../../platform/config.js';
import type { UsablePipeline } from '../../processors/pipelines/load-pipelines.js';
import { type Contract, loadContract } from '../../schemas/contracts.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { pipelineTopics, systemTopics } from '../../streams/topics.js';
import { registryOptions } from '../../app/connections.js';
import { attempt, type Diagnosis } from './diagnosis.js';

/** Checks that the registry is reachable, and has or would accept the contracts of this version. */
export async function checkRegistry(
  diagnosis: Diagnosis,
  config: Config,
  url: string,
  pipelines: readonly Pick<UsablePipeline, 'name' | 'contract'>[],
): Promise<void> {
  const notes = diagnosis.notes('registry');
  const registry = new SchemaRegistryClient({ ...registryOptions(config, url), timeoutMs: 3_000 });
  const fix =
    'Check that it runs and SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD are right.';
  const isThere = await attempt(notes, { what: 'Cannot use the schema registry', fix }, async () => {
    const askedAt = Date.now();
    await registry.ping();
    const time = await registry.time();
    const answeredAt = Date.now();
    notes.ok(`The schema registry at ${url} answers in ${Math.round((answeredAt - askedAt) / 2)} ms`);
    if (time !== undefined) diagnosis.noteClock('The schema registry', time, { askedAt, answeredAt }, 1_000);
  });
  if (!isThere) return;
  await attempt(notes, { what: 'Cannot check the schemas', fix }, async () => {
    const contracts = contractsByTopic(pipelines);
    const standings = await Promise.all(
      contracts.map(async ([topic, { type, version }]) => {
        const subject = `${topic}-value`;
        const schema = JSON.stringify(type.schema({ exportAttrs: true }));
        return { subject, version, standing: await registry.standing(subject, schema) };
      }),
    );
    const of = (wanted: string): string[] =>
      standings
        .filter(({ standing }) => standing === wanted)
        .map(({ subject, version }) => `${subject} (version ${version} of its contract)`);
    const registered = of('registered');
    if (registered.length > 0) notes.ok(`${registered.length} of ${contracts.length} schemas are registered`);
    for (const subject of of('incompatible'))
      notes.error(
        `${subject} is incompatible with the registered schema: roles of this version cannot start`,
        'Run the version of Millrace that registered it, or add a new version of the contract whose new fields have defaults.',
      );
    const compatible = of('compatible').filter((text) => !optional.has(text.split(' ')[0] ?? ''));
    if (compatible.length > 0)
      notes.warn(
        `Not registered yet: ${compatible.join(', ')}`,
        'Start a role of this version: it registers them.',
      );
  });
}

/** Registered only by schedules and file jobs. */
const optional = new Set([`${systemTopics.schedules}-value`, `${systemTopics.jobs}-value`]);

/** Returns each topic with its contract. */
function contractsByTopic(
  pipelines: readonly Pick<UsablePipeline, 'name' | 'contract'>[],
): [topic: string, contract: Contract][] {
  const shared = (name: string): Contract => loadContract('shared', name);
  return [
    ...pipelines.flatMap(({ name, contract }): [string, Contract][] => {
      const topics = pipelineTopics(name);
      return [
        [topics.events, contract],
        [topics.predictions, shared('prediction')],
        [topics.outcomes, shared('outcome')],
      ];
    }),
    [systemTopics.models, shared('model-event')],
    [systemTopics.jobs, shared('job-event')],
    [systemTopics.schedules, shared('schedule-run')],
  ];
}
