import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { MillraceError } from '../../platform/errors.js';
import { parseManifest, type GoldenRow, type ModelManifest } from '../manifest.js';
import { externalFilesOf, opsetsOf, requireWeightsInside, withWeightsInside } from '../onnx-file.js';
import {
  type Artifacts,
  type MlflowClient,
  type MlflowRun,
  type MlflowVersion,
  type ModelReference,
  parseOrNothing,
} from './client.js';
import { useGraph, type OutputChoice, type UsableGraph } from './graph.js';
import { readSignature, type Signature } from './signature.js';

export interface ImportOptions {
  client: MlflowClient;
  reference: ModelReference;
  /** Champion of the model, with which the imported version must be compatible. */
  champion: { manifest: ModelManifest; golden: GoldenRow[] };
  /** Name of the imported version. Default: `mlflow-<version in MLflow>`. */
  version?: string | undefined;
  choice?: OutputChoice;
  /** Maximum size of each download, in bytes. */
  maxBytes: number;
  /** An empty folder, to be filled with model.onnx, model.json and golden.json. */
  folder: string;
}

export interface Imported {
  manifest: ModelManifest;
  /** Notes for the user on assumptions of the import. */
  notes: string[];
}

/** Maximum golden rows from an example. Each is run separately at every load. */
const maxGoldenRows = 100;

/**
 * Creates a version folder from a model in an MLflow registry. Uses model.json and golden.json from its artifacts if
 * present, otherwise the champion's model.json and the data in MLflow.
 *
 * @throws MillraceError `MLFLOW_MODEL_UNFIT` (with the reason), `ONNX_INVALID`, and as {@link MlflowClient}.
 */
export async function importFromMlflow(options: ImportOptions): Promise<Imported> {
  const { client, reference, folder } = options;
  const found = await client.findVersion(reference);
  const artifacts = await client.openArtifacts(found);
  let left = options.maxBytes;
  const fetchFile = async (name: string): Promise<Uint8Array> => {
    const content = await artifacts.download(name, left);
    left -= content.length;
    return content;
  };
  const whole = await fetchModel(found, artifacts, fetchFile, client.server);
  const version = options.version ?? `mlflow-${found.version}`;
  const made =
    artifacts.files.has('model.json') && artifacts.files.has('golden.json')
      ? await takeAsItIs(whole, fetchFile, options.version)
      : await makeLikeChampion({ ...options, version, found, artifacts, whole, fetchFile });
  await writeFile(join(folder, 'model.onnx'), made.onnx);
  await writeFile(join(folder, 'model.json'), `${JSON.stringify(made.manifest, undefined, 2)}\n`);
  await writeFile(join(folder, 'golden.json'), made.golden);
  return { manifest: made.manifest, notes: made.notes };
}

type FetchFile = (name: string) => Promise<Uint8Array>;
interface Made extends Imported {
  onnx: Uint8Array;
  /** Content of golden.json. */
  golden: string | Uint8Array;
}

async function fetchModel(
  found: MlflowVersion,
  { files }: Artifacts,
  fetchFile: FetchFile,
  server: string,
): Promise<Uint8Array> {
  const names = [...files.keys()].filter((name) => name.endsWith('.onnx'));
  const name = names.includes('model.onnx') ? 'model.onnx' : names[0];
  if (name === undefined && [...files.keys()].some((file) => pickle.test(file))) {
    throw unfit(
      `it is a pickle, which only Python can load with the packages that created it. With these packages and skl2onnx installed, this command adds the model as an ONNX version:\n${conversion(found, server)}\nThen import that version, or log the model as ONNX`,
    );
  }
  if (name === undefined || (names.length > 1 && name !== 'model.onnx')) {
    throw unfit(
      `its artifacts have ${names.length === 0 ? 'no ONNX file' : `several (${names.join(', ')})`}: ${[...files.keys()].slice(0, 20).join(', ')}. Log the model with mlflow.onnx.log_model`,
    );
  }
  const onnx = await fetchFile(name);
  const weights = new Map<string, Uint8Array>();
  for (const file of externalFilesOf(onnx)) {
    if (!files.has(file))
      throw unfit(`its weights are in the file ${file}, which is not among its artifacts`);
    weights.set(file, await fetchFile(file));
  }
  const whole = withWeightsInside(onnx, weights);
  requireWeightsInside(whole);
  return whole;
}

/** Names of pickled files in MLflow. */
const pickle = /\.(?:pkl|pickle|joblib|cloudpickle|skops)$/;

/** Returns a command that converts a scikit-learn model in the registry to ONNX, as a new version. */
function conversion({ name, version }: MlflowVersion, server: string): string {
  const lines = [
    'import mlflow, sys, skl2onnx',
    'from skl2onnx.common.data_types import FloatTensorType',
    'name, version = sys.argv[1:]',
    'model = mlflow.sklearn.load_model(f"models:/{name}/{version}")',
    'columns = [("features", FloatTensorType([None, model.n_features_in_]))]',
    'graph = skl2onnx.convert_sklearn(model, initial_types=columns, target_opset={"": 17, "ai.onnx.ml": 3})',
    'mlflow.onnx.log_model(graph, name="model", registered_model_name=name, pip_requirements=["onnx"])',
  ];
  const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  return `MLFLOW_TRACKING_URI=${quoted(server)} python -c ${quoted(lines.join('; '))} ${quoted(name)} ${quoted(version)}`;
}

async function takeAsItIs(
  onnx: Uint8Array,
  fetchFile: FetchFile,
  version: string | undefined,
): Promise<Made> {
  const json = Buffer.from(await fetchFile('model.json')).toString();
  const manifest = parseManifest(json, 'model.json among the artifacts');
  const golden = await fetchFile('golden.json');
  const notes = ['model.json and golden.json are those among its artifacts.'];
  return { onnx, manifest: version === undefined ? manifest : { ...manifest, version }, golden, notes };
}

async function makeLikeChampion({
  client,
  champion,
  choice = {},
  version,
  found,
  artifacts,
  whole,
  fetchFile,
}: ImportOptions & {
  version: string;
  found: MlflowVersion;
  artifacts: Artifacts;
  whole: Uint8Array;
  fetchFile: FetchFile;
}): Promise<Made> {
  const { inputs } = champion.manifest;
  const encoded = inputs.filter(({ encoding }) => encoding !== undefined).map(({ name }) => name);
  if (encoded.length > 0) {
    throw unfit(
      `inputs of ${champion.manifest.name} are text (${encoded.join(', ')}), and MLflow does not store their encoding. Log model.json and golden.json next to model.onnx`,
    );
  }
  const signature = artifacts.files.has('MLmodel')
    ? readSignature(Buffer.from(await fetchFile('MLmodel')).toString())
    : undefined;
  requireSameInputs(signature, inputs);
  const example = artifacts.files.has('input_example.json')
    ? readExample(Buffer.from(await fetchFile('input_example.json')).toString(), inputs)
    : undefined;
  const rows = example ?? champion.golden.map(({ features }) => features.map(Number));
  const graph = await useGraph(whole, rows, choice);
  const golden = rows.map((features, index) => ({ features, prediction: graph.predictions[index] }));
  const run = found.run_id === '' ? { metrics: {}, params: {} } : await client.findRun(found.run_id);
  const notes = [
    `golden.json holds the graph's own predictions for ${example === undefined ? 'the golden rows of the champion' : 'the input example of MLflow'}. It detects later changes, but does not verify the training.`,
    ...(signature !== undefined && 'columns' in signature
      ? []
      : [
          'MLflow stores no column names for this model. The order of columns is assumed to be the champion’s.',
        ]),
    ...(choice.column === undefined && graph.runtime.output_column !== undefined
      ? ['The score is the second of two columns, the probability of the second class.']
      : []),
  ];
  const manifest = describe({
    champion: champion.manifest,
    server: client.server,
    version,
    found,
    run,
    graph,
    notes,
  });
  return { onnx: graph.onnx, manifest, golden: `${JSON.stringify({ rows: golden }, undefined, 2)}\n`, notes };
}

function describe(made: {
  champion: ModelManifest;
  server: string;
  version: string;
  found: MlflowVersion;
  run: MlflowRun;
  graph: UsableGraph;
  notes: string[];
}): ModelManifest {
  const { champion, server, version, found, run, graph, notes } = made;
  return {
    name: champion.name,
    version,
    digest: createHash('sha256').update(graph.onnx).digest('hex'),
    license: String(found.tags['license'] ?? 'NOASSERTION'),
    description: found.description || `${found.name} version ${found.version} of an MLflow registry.`,
    runtime: { format: 'onnx', opsets: opsetsOf(graph.onnx), ...graph.runtime },
    // Omits ranges, which describe the champion's training data.
    inputs: champion.inputs.map((input) => ({ ...input, range: undefined })),
    output: { ...champion.output, dtype: graph.outputDtype },
    metrics: run.metrics,
    training: {
      mlflow: {
        server,
        model: found.name,
        version: found.version,
        run_id: found.run_id,
        source: found.source,
        tags: found.tags,
        parameters: run.params,
      },
    },
    model_card: {
      intended_use: `As ${champion.name} version ${champion.version}, whose inputs and output were used for the import.`,
      limits: [
        ...notes,
        ...(champion.output.decision === undefined
          ? []
          : [`The decision threshold is that of version ${champion.version}.`]),
      ],
    },
  };
}

function requireSameInputs(signature: Signature | undefined, inputs: ModelManifest['inputs']): void {
  if (signature === undefined) return;
  if ('shape' in signature) {
    const width = signature.shape.at(-1);
    if (signature.shape.length === 2 && (width === inputs.length || width === -1)) return;
    throw unfit(
      `its signature is a tensor [${signature.shape.join(', ')}], but the champion has ${inputs.length} inputs`,
    );
  }
  const { columns } = signature;
  const at = inputs.findIndex(({ name }, index) => columns[index]?.name !== name);
  if (at !== -1 || columns.length !== inputs.length) {
    const place = at === -1 ? inputs.length : at;
    throw unfit(
      `its signature has ${columns.length} columns, the champion ${inputs.length} inputs, and column ${place} is ${columns[place]?.name ?? 'none'} where the champion has ${inputs[place]?.name ?? 'none'}. Names and order must be the same`,
    );
  }
}

const row = z.array(z.union([z.number(), z.boolean().transform(Number)]));
const exampleSchema = z.union([
  z.object({ columns: z.array(z.string()).optional(), data: z.array(row) }),
  z.array(row).transform((data) => ({ columns: undefined, data })),
]);

/** Returns at least two rows of MLflow's input example in the order of the inputs, or undefined. */
function readExample(json: string, inputs: ModelManifest['inputs']): number[][] | undefined {
  const example = exampleSchema.safeParse(parseOrNothing(json)).data;
  if (example === undefined) return undefined;
  const { columns = inputs.map(({ name }) => name), data } = example;
  const places = inputs.map(({ name }) => columns.indexOf(name));
  const rows = data
    .slice(0, maxGoldenRows)
    .map((values) => places.map((place) => values[place] ?? Number.NaN));
  return rows.length >= 2 && rows.flat().every((value) => Number.isFinite(Math.fround(value)))
    ? rows
    : undefined;
}

function unfit(problem: string): MillraceError {
  return new MillraceError('MLFLOW_MODEL_UNFIT', `Cannot import the model: ${problem}.`);
}
