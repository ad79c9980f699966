import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EmbeddedKafka, startKafka } from '../../embedded/kafka/start.js';
import { type Contract, loadContractVersions } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { toPredictionRow } from './prediction.js';

const prediction: Prediction = {
  prediction_id: '00000000-0000-5000-8000-000000000001',
  event_id: 'e',
  pipeline: 'iris',
  model: 'iris',
  model_version: '1',
  model_digest: '0'.repeat(64),
  event_time: 1,
  predicted_at: 2,
  score: 0.7,
  label: 'setosa',
  features: '{}',
  source: 'test',
  topic: 'iris.events',
  partition: 0,
  offset: 7,
  schema_id: 1,
  latency_ms: 5,
  role: 'shadow',
  model_event: 3,
  model_event_at: 4,
  outputs: '{"species":{"setosa":0.7,"other":0.3}}',
};
const versions = loadContractVersions('shared', 'prediction');

let kafka: EmbeddedKafka;
let serde: Serde;
beforeAll(async () => {
  kafka = await startKafka({ registryPort: 0 });
  serde = new Serde(new SchemaRegistryClient({ url: kafka.registryUrl ?? '' }));
});
afterAll(() => kafka.stop());

/** The fields of a prediction that a version of the contract has. */
function fieldsOf({ schema }: Contract): Partial<Prediction> {
  return Object.fromEntries(
    Object.entries(prediction).filter(([name]) => schema.fields.some((field) => field.name === name)),
  );
}

it('is read in every version by readers of every version, which a registry at FULL_TRANSITIVE accepts', async () => {
  expect(await serde.keepReadable('iris.predictions')).toBe('set');
  for (const written of versions) {
    const id = await serde.register('iris.predictions', written.type);
    const record = serde.encode(id, written.type, prediction);
    for (const reader of versions) {
      const known = fieldsOf(reader);
      const read = (await serde.decode(record, reader.type)) as Prediction;
      expect(Object.keys(read)).toEqual(reader.schema.fields.map(({ name }) => name));
      const missing = Object.keys(known).filter((name) => !(name in fieldsOf(written)));
      const defaults = { role: 'champion', model_event: -1, model_event_at: null, outputs: null };
      const expected = missing.map((name) => [name, defaults[name as keyof typeof defaults]]);
      expect(read).toEqual({ ...known, ...(Object.fromEntries(expected) as object) });
    }
  }
});

it('of an earlier release has a row without outputs', async () => {
  const newest = versions.at(-1);
  for (const written of versions.slice(0, 2)) {
    const id = await serde.register('iris.predictions', written.type);
    const read = await serde.decode(serde.encode(id, written.type, prediction), newest?.type as never);
    expect(toPredictionRow(read as Prediction)).toMatchObject({ event_id: 'e', outputs: '{}' });
  }
});
