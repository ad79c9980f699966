/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import type { ServedAlias, ServedChallenger } from '../../models/lifecycle/model-slot.js';
import type { ServedVersion } from '../../models/lifecycle/served-version.js';
import type { ModelManifest } from '../../models/manifest.js';
import type { RowResult } from '../../models/micro-batcher.js';
import { decide } from '../../models/outputs.js';
import type { ModelRow } from '../../models/tensors.js';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics, type Metrics } from '../../platform/metrics.js';
import { avroType, type ContractField, loadContract, type RecordSchema } from '../../schemas/contracts.js';
import type { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { pipelineTopics } from '../../streams/topics.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { definePipeline } from '../pipelines/pipeline.js';
import { Scorer } from '../scoring/scorer.js';

/**
 * A version without a graph: it adds up the features of a row, and fails on a negative sum with
 * `MODEL_FAILED`.
 */
export class ToyModel {
  readonly manifest: ModelManifest;
  readonly digest: string;
  /** Rows that it received. */
  rows = 0;
  /** Scores wait for it. */
  gate: Promise<unknown> = Promise.resolve();

  constructor(version = '1') {
    this.digest = version.padStart(64, '0');
    this.manifest = {
      name: 'toy',
      version,
      digest: this.digest,
      runtime: { format: 'onnx', opsets: {}, input_tensor: 'features', output_tensor: 'sum' },
      inputs: ['a', 'b'].map((name) => ({ name, dtype: 'float32', meaning: name })),
      output: {
        name: 'sum',
        dtype: 'float64',
        meaning: 'sum',
        decision: { threshold: 10, at_or_above: 'high', below: 'low' },
      },
    } as unknown as ModelManifest;
  }

  async predict(rows: readonly ModelRow[]): Promise<RowResult[]> {
    this.rows += rows.length;
    await this.gate;
    return rows.map((row) => {
      const score = row.reduce<number>((total, feature) => total + Number(feature), 0);
      if (score < 0) return new MillraceError('MODEL_FAILED', 'The sum is negative.');
      return { score, label: decide(this.manifest.output, score), outputs: { sum: score } };
    });
  }

  alias(event = 1): ServedAlias {
    return { version: this as unknown as ServedVersion, event, at: null };
  }
}

export interface ToyPipeline {
  pipeline: OpenPipeline;
  serde: Serde;
  model: ToyModel;
  metrics: Metrics;
}

/**
 * A pipeline of events with the numbers `a` and `b`, whose model adds them up, with the real scorer and the
 * real Avro encoding; its registry is in memory.
 *
 * @param type - Avro type of both fields. Default `double`.
 */
export async function openToyPipeline({
  type = 'double',
  challenger,
}: { type?: ContractField['type']; challenger?: ServedChallenger } = {}): Promise<ToyPipeline> {
  const schema: RecordSchema = {
    type: 'record',
    name: 'Toy',
    namespace: 'test',
    fields: ['a', 'b'].map((name) => ({ name, type })),
  };
  const event = { version: 1, schema, type: avroType(schema as never) };
  const prediction = loadContract('shared', 'prediction');
  const serde = new Serde(memoryRegistry());
  const topics = pipelineTopics('toy');
  const model = new ToyModel();
  const metrics = createMetrics();
  const definition = definePipeline<{ a: number; b: number }>({
    name: 'toy',
    features: ({ a, b }) => [a, b],
    key: ({ a }) => `key-${a}`,
  });
  const pipeline: OpenPipeline = {
    name: 'toy',
    pipeline: definition,
    scorer: new Scorer({
      pipeline: definition,
      contract: schema,
      served: { get: () => ({ champion: model.alias(), challenger }) },
      metrics,
      logger: silentLogger,
    }),
    event: { ...event, schemaId: await serde.register(topics.events, event.type) },
    prediction: { ...prediction, schemaId: await serde.register(topics.predictions, prediction.type) },
    topics,
  };
  return { pipeline, serde, model, metrics };
}

/** A schema registry in memory, without compatibility checks. */
function memoryRegistry(): SchemaRegistryClient {
  const schemas: string[] = [];
  const registry: Pick<SchemaRegistryClient, 'register' | 'schema'> = {
    register: (_, schema) => {
      const known = schemas.indexOf(schema);
      return Promise.resolve(known < 0 ? schemas.push(schema) : known + 1);
    },
    schema: (id) => {
      const schema = schemas[id - 1];
      return schema === undefined
        ? Promise.reject(new MillraceError('SCHEMA_UNKNOWN', `There is no schema ${id}.`))
        : Promise.resolve({ schema, schemaType: 'AVRO' });
    },
  };
  return registry as SchemaRegistryClient;
}
