import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { ModelManifest } from '../../models/manifest.js';
import { packageRoot } from '../../platform/paths.js';
import { loadUsablePipelines } from '../../processors/pipelines/load-pipelines.js';
import type { Pipeline } from '../../processors/pipelines/pipeline.js';

interface Model {
  manifest: ModelManifest;
  session: InferenceSession;
}

/**
 * Scores events one by one with the shipped models, in plain onnxruntime sessions, without Millrace's
 * batches, worker threads and encoder. It uses only a pipeline's feature function, which is pure; without one
 * it takes the event's fields that are named like the inputs, as the shipped pipelines do.
 */
export class Reference {
  readonly #pipelines: Map<string, Pipeline>;
  readonly #models = new Map<string, Promise<Model>>();

  private constructor(pipelines: Pipeline[]) {
    this.#pipelines = new Map(pipelines.map((pipeline) => [pipeline.name, pipeline]));
  }

  static async open(): Promise<Reference> {
    return new Reference((await loadUsablePipelines(packageRoot)).map(({ pipeline }) => pipeline));
  }

  async score(name: string, fields: object): Promise<number> {
    const pipeline = this.#pipelines.get(name);
    if (pipeline === undefined) throw new Error(`there is no pipeline ${name}`);
    const { manifest, session } = await this.#model(pipeline.model?.(fields) ?? name);
    const features =
      pipeline.features?.(fields) ??
      manifest.inputs.map((input) => Reflect.get(fields, input.name) as unknown);
    const row = features.map((feature, index) => {
      if (typeof feature === 'number') return feature;
      const { encoding = {}, unknown } = manifest.inputs[index] ?? {};
      const same = Object.entries(encoding).find(
        ([text]) => text.toLowerCase() === String(feature).trim().toLowerCase(),
      );
      return same?.[1] ?? unknown ?? Number.NaN;
    });
    const { input_tensor = '', output_tensor } = manifest.runtime;
    const feeds = { [input_tensor]: new Tensor('float32', Float32Array.from(row), [1, row.length]) };
    const output = (await session.run(feeds, [output_tensor]))[output_tensor];
    return Number(output?.data[0]);
  }

  #model(name: string): Promise<Model> {
    const known = this.#models.get(name) ?? open(name);
    this.#models.set(name, known);
    return known;
  }
}

async function open(name: string): Promise<Model> {
  const folder = join(packageRoot, 'models', name, '1');
  const manifest = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as ModelManifest;
  return { manifest, session: await InferenceSession.create(join(folder, 'model.onnx')) };
}
