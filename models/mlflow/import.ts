import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { MillraceError } from '../../platform/errors.js';
import type { OutputChoice } from '../graphs/graph-outputs.js';
import { readGraph } from '../graphs/read-graph.js';
import { areRows, inputsLike, type LikeRequest, makeVersionLike } from '../graphs/version-like.js';
import type { Feature } from '../input-encoder.js';
import { type Golden, parseManifest, type ModelManifest } from '../manifest.js';
import { externalFilesOf, requireWeightsInside, withWeightsInside } from '../onnx-file.js';
import { widthOf } from '../tensors.js';
import {
  type Artifacts,
  type MlflowClient,
  type MlflowRun,
  type MlflowVersion,
  type ModelReference,
  parseOrNothing,
} from './client.js';
import { readSignature, type Signature } from './signature.js';

export interface ImportOptions {
  client: MlflowClient;
  reference: ModelReference;
  /** Champion of the model, with which the imported version must be compatible. */
  champion: { manifest: ModelManifest; golden: Golden };
  /** Name of the imported version. Default: `mlflow-<version in MLflow>`. */
  version?: string | undefined;
  choice?: Pick<OutputChoice, 'output' | 'column' | 'classes'>;
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
const maxGoldenRows = 50;

/**
 * Creates a version folder from a model in an MLflow registry. Uses model.json and golden.json from its
 * artifacts if present, otherwise the champion's model.json and the data in MLflow.
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
    'from skl2onnx.common import data_types as t',
    'name, version = sys.argv[1:]',
    'uri = f"models:/{name}/{version}"',
    'model = mlflow.sklearn.load_model(uri)',
    'given = getattr(mlflow.models.get_model_info(uri).signature, "inputs", None)',
    'columns = [(c.name, c.type.name) for c in given] if given and given.has_input_names() and not given.is_tensor_spec() else []',
    // A matrix has one type, and no names for the steps of a pipeline that select columns.
    'apart = any(kind == "string" for _, kind in columns) or "ColumnTransformer" in repr(model)',
    'kinds = {"string": t.StringTensorType, "integer": t.Int64TensorType, "long": t.Int64TensorType, "boolean": t.BooleanTensorType}',
    'types = [(c, kinds.get(kind, t.FloatTensorType)([None, 1])) for c, kind in columns] if apart else [("features", t.FloatTensorType([None, model.n_features_in_]))]',
    'graph = skl2onnx.convert_sklearn(model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3})',
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
  const { manifest: other } = champion;
  const graph = await readGraph(whole);
  const signature = artifacts.files.has('MLmodel')
    ? readSignature(Buffer.from(await fetchFile('MLmodel')).toString())
    : undefined;
  const { inputs, inputTensor } = inputsLike(graph, other);
  const encoded = inputs.filter(({ encoding }) => encoding !== undefined).map(({ name }) => name);
  if (encoded.length > 0) {
    throw unfit(
      `inputs of ${other.name} are text (${encoded.join(', ')}), and MLflow does not store their encoding. Log model.json and golden.json next to model.onnx`,
    );
  }
  requireSameInputs(signature, inputs, inputTensor !== undefined);
  const example = artifacts.files.has('input_example.json')
    ? readExample(Buffer.from(await fetchFile('input_example.json')).toString(), inputs)
    : undefined;
  const run = found.run_id === '' ? { metrics: {}, params: {} } : await client.findRun(found.run_id);
  const notes = [
    `golden.json holds the graph's own predictions for ${example === undefined ? 'the golden rows of the champion' : 'the input example of MLflow'}. It detects later changes, but does not verify the training.`,
    ...((signature !== undefined && 'columns' in signature) || inputTensor === undefined
      ? []
      : [
          'MLflow stores no column names for this model. The order of columns is assumed to be the champion’s.',
        ]),
  ];
  const made = await makeVersionLike({
    graph,
    champion,
    version,
    choice,
    ...(example === undefined
      ? {}
      : { rows: example.map((features, index) => ({ number: index + 1, features })) }),
    card: cardOf({ champion: other, server: client.server, found, run, notes }),
  });
  const told = [...notes, ...made.notes.filter((note) => !note.includes('--prediction'))];
  const manifest = {
    ...made.manifest,
    // Omits ranges, which describe the champion's training data.
    inputs: made.manifest.inputs.map((input) => ({ ...input, range: undefined })),
    model_card: {
      ...made.manifest.model_card,
      limits: [
        ...told,
        ...(other.output.decision === undefined
          ? []
          : [`The decision threshold is that of version ${other.version}.`]),
      ],
    },
  };
  return {
    onnx: made.onnx,
    manifest,
    golden: `${JSON.stringify(made.golden, undefined, 2)}\n`,
    notes: told,
  };
}

function cardOf(made: {
  champion: ModelManifest;
  server: string;
  found: MlflowVersion;
  run: MlflowRun;
  notes: string[];
}): NonNullable<LikeRequest['card']> {
  const { champion, server, found, run, notes } = made;
  return {
    license: String(found.tags['license'] ?? 'NOASSERTION'),
    description: found.description || `${found.name} version ${found.version} of an MLflow registry.`,
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
      limits: notes,
    },
  };
}

/** The columns of a matrix have to be in the order of the inputs; inputs of their own in any order. */
function requireSameInputs(
  signature: Signature | undefined,
  inputs: ModelManifest['inputs'],
  isMatrix: boolean,
): void {
  if (signature === undefined) return;
  if ('shape' in signature) {
    const given = signature.shape.slice(1);
    const wanted = inputs.reduce((sum, { shape }) => sum + widthOf(shape), 0);
    if (given.includes(-1) || widthOf(given) === wanted) return;
    throw unfit(
      `its signature is a tensor [${signature.shape.join(', ')}], but the champion has ${inputs.length} inputs`,
    );
  }
  const { columns } = signature;
  const names = columns.map(({ name }) => name);
  if (!isMatrix) {
    const missing = inputs.find(({ name }) => !names.includes(name));
    if (missing === undefined) return;
    throw unfit(
      `its signature has no column ${missing.name}, which the champion has. Its columns are ${names.join(', ')}`,
    );
  }
  const at = inputs.findIndex(({ name }, index) => columns[index]?.name !== name);
  if (at !== -1 || columns.length !== inputs.length) {
    const place = at === -1 ? inputs.length : at;
    throw unfit(
      `its signature has ${columns.length} columns, the champion ${inputs.length} inputs, and column ${place} is ${columns[place]?.name ?? 'none'} where the champion has ${inputs[place]?.name ?? 'none'}. Names and order must be the same`,
    );
  }
}

const value = z.union([z.number(), z.boolean(), z.string(), z.null(), z.array(z.unknown())]);
const row = z.array(value);
const exampleSchema = z.union([
  z.object({ columns: z.array(z.string()).optional(), data: z.array(row) }),
  z.array(row).transform((data) => ({ columns: undefined, data })),
]);

/** Returns rows of MLflow's input example in the order of the inputs, or undefined if it has others. */
function readExample(json: string, inputs: ModelManifest['inputs']): Feature[][] | undefined {
  const example = exampleSchema.safeParse(parseOrNothing(json)).data;
  if (example === undefined) return undefined;
  const { columns = inputs.map(({ name }) => name), data } = example;
  const places = inputs.map(({ name }) => columns.indexOf(name));
  const [only] = inputs;
  const isShaped = inputs.length === 1 && only?.shape !== undefined && example.columns === undefined;
  const rows = data
    .slice(0, maxGoldenRows)
    .map((values) => (isShaped ? [values] : places.map((place) => values[place] ?? null))) as Feature[][];
  return areRows(rows, inputs) ? rows : undefined;
}

function unfit(problem: string): MillraceError {
  return new MillraceError('MLFLOW_MODEL_UNFIT', `Cannot import the model: ${problem}.`);
}
