import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { OutputChoice } from '../../models/graphs/graph-outputs.js';
import { readGraphFile } from '../../models/graphs/read-graph.js';
import { makeVersionLike } from '../../models/graphs/version-like.js';
import type { ModelInput, ModelManifest } from '../../models/manifest.js';
import { requireCompatible } from '../../models/registration/compatibility.js';
import { smokeTest } from '../../models/registration/smoke-test.js';
import { listVersions, readModel } from '../../models/registry.js';
import { MillraceError } from '../../platform/errors.js';
import { isUsable, loadPipelines, modelsFolder } from '../pipelines/load-pipelines.js';
import { modelsOf } from '../scoring/model-router.js';
import { fieldPathsOf } from './field-names.js';
import { modelRows, predictionColumns, type ModelRows } from './model-rows.js';
import { invalid, readSample, type Sample, unknownColumn } from './sample-file.js';
import { toJson, writeChecked } from './staging.js';

export interface AddVersionOptions {
  /** The project's folder. */
  project: string;
  /** A model of the project. */
  name: string;
  /** An ONNX file. */
  model: string;
  /**
   * A csv or jsonl file with rows, whose columns are named as inputs of the model or as fields of its events.
   */
  sample?: string | undefined;
  /** Columns with the predictions of the training library. Default: those with usual names. */
  predictions?: readonly string[];
  choice?: Pick<OutputChoice, 'output' | 'column' | 'classes'>;
  /** Default: the next number. */
  version?: string | undefined;
  /** Maximum size of the ONNX file, in bytes. */
  maxBytes: number;
}

export interface AddedVersion {
  version: string;
  /** Path of its folder, relative to the project. */
  folder: string;
  /** What was assumed, in sentences. */
  notes: string[];
}

/**
 * Writes the folder of another version of a model: with inputs, output and their meaning as in the newest
 * version, and golden rows of the sample, or of that version. Overwrites nothing.
 *
 * @throws MillraceError `MODEL_NOT_FOUND`, `MODEL_REFUSED` (the graph), `FILE_INVALID` (the sample),
 *   `FILES_EXIST`.
 */
export async function addVersion(options: AddVersionOptions): Promise<AddedVersion> {
  const { project, name, choice, maxBytes } = options;
  const root = modelsFolder(project);
  const versions = await listVersions(root, name);
  const newest = versions[0];
  if (newest === undefined) {
    throw new MillraceError(
      'MODEL_NOT_FOUND',
      `${join(root, name)} has no version. Make a first one with \`millrace new\`.`,
    );
  }
  const version = options.version ?? nextOf(versions);
  requireFree(version, project, name);
  const champion = await readModel(join(root, name, newest));
  const graph = await readGraphFile(options.model, maxBytes);
  const sample = options.sample === undefined ? undefined : await readSample(options.sample);
  const given = sample === undefined ? undefined : await rowsOf(sample, champion.manifest, options);
  const made = await makeVersionLike({
    graph,
    champion: { manifest: withRanges(champion.manifest, given?.inputs), golden: champion.golden },
    version,
    rows: given?.rows,
    predictions: given?.predictions,
    choice,
  });
  requireCompatible(made.manifest, champion.manifest);
  const folder = `models/${name}/${version}`;
  const files = new Map<string, string | Uint8Array>([
    [`${folder}/model.onnx`, made.onnx],
    [`${folder}/model.json`, toJson(made.manifest)],
    [`${folder}/golden.json`, toJson(made.golden)],
  ]);
  await writeChecked(project, files, [folder], async (staging) => {
    await smokeTest({ folder: join(staging, folder), rows: [] });
  });
  const source =
    given === undefined ? [`Without --sample, the golden rows have the values of version ${newest}.`] : [];
  return { version, folder, notes: [...source, ...made.notes] };
}

function nextOf(versions: readonly string[]): string {
  const numbers = versions.map((each) => Number(/^\d+/.exec(each)?.[0] ?? 0));
  return String(Math.max(0, ...numbers) + 1);
}

function requireFree(version: string, project: string, name: string): void {
  if (!/^[\w][\w.+-]{0,99}$/.test(version)) {
    throw new MillraceError(
      'MODEL_INVALID',
      `A version can’t be named '${version}'. Use letters, digits, '.', '+', '-' and '_'.`,
    );
  }
  const folder = join(modelsFolder(project), name, version);
  if (!existsSync(folder)) return;
  throw new MillraceError(
    'FILES_EXIST',
    `${folder} exists, and nothing is overwritten. Use another --version.`,
  );
}

/** The ranges of a version describe its own rows. */
function withRanges(manifest: ModelManifest, inputs: readonly ModelInput[] | undefined): ModelManifest {
  return {
    ...manifest,
    inputs: manifest.inputs.map((input, at) => ({ ...input, range: inputs?.[at]?.range })),
  };
}

async function rowsOf(
  sample: Sample,
  { name, inputs }: ModelManifest,
  { project, predictions: named = [] }: AddVersionOptions,
): Promise<ModelRows> {
  const missing = named.find((column) => !sample.columns.includes(column));
  if (missing !== undefined) throw unknownColumn(sample, missing, '--prediction');
  const predictions = predictionColumns(
    sample,
    named,
    inputs.map((input) => input.name),
  );
  const paths = await pathsOf(project, name);
  const fields = fieldPathsOf(sample.segments);
  const assigned = inputs.map(({ name: input, dtype, shape }) => {
    const path = paths[input] ?? input;
    const column =
      sample.columns.find((each) => each === input) ??
      sample.columns.find((each) => each === path || fields.get(each) === path);
    if (column === undefined) throw noColumn(sample, input, path);
    return { name: input, column, dtype, ...(shape === undefined ? {} : { shape }) };
  });
  const encodings = new Map(
    inputs.flatMap(({ encoding }, at) =>
      encoding === undefined ? [] : [[assigned[at]?.column ?? '', encoding] as const],
    ),
  );
  return modelRows(sample, assigned, encodings, predictions);
}

/** Returns the event field that feeds an input, where a pipeline with the model says so. */
async function pathsOf(project: string, model: string): Promise<Readonly<Record<string, string>>> {
  const pipelines = (await loadPipelines(project)).filter(isUsable);
  return pipelines.find(({ pipeline }) => modelsOf(pipeline).includes(model))?.pipeline.inputs ?? {};
}

function noColumn({ file, columns }: Sample, input: string, path: string): MillraceError {
  const names = path === input ? input : `${input} or ${path}`;
  return invalid(
    `${file} has no column ${names} for the input ${input}. Its columns are ${columns.join(', ')}`,
  );
}
