import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { inputSlots } from '../../models/graphs/graph-inputs.js';
import type { OutputChoice } from '../../models/graphs/graph-outputs.js';
import { type MadeVersion, makeVersion } from '../../models/graphs/make-version.js';
import { readGraphFile } from '../../models/graphs/read-graph.js';
import type { ModelOutput } from '../../models/outputs.js';
import { readModel } from '../../models/registry.js';
import { smokeTest } from '../../models/registration/smoke-test.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { makeRow } from '../scoring/features.js';
import { isPipelineName, loadPipeline, pipelineNames } from '../pipelines/load-pipelines.js';
import { assignInputs } from './assign-inputs.js';
import { fieldPathsOf } from './field-names.js';
import { inferContract, type WantedValue } from './infer-contract.js';
import { type EncodingFiles, modelRows, predictionColumns, readEncodings } from './model-rows.js';
import { sampleEvents } from './sample-events.js';
import { readSample, unknownColumn } from './sample-file.js';
import { toJson, writeChecked } from './staging.js';
import { testOf } from './test-file.js';

export interface NewPipelineOptions {
  /** The project's folder. */
  project: string;
  /** Name of the pipeline and of its model. */
  name: string;
  /** An ONNX file. */
  model: string;
  /** A csv or jsonl file with rows as the model gets them. */
  sample?: string | undefined;
  key?: string | undefined;
  /** Column with the truth, which is no input. */
  label?: string | undefined;
  /** Columns with the predictions of the training library. Default: those with usual names. */
  predictions?: readonly string[];
  encodings?: EncodingFiles;
  choice?: OutputChoice;
  /** Maximum size of the ONNX file, in bytes. */
  maxBytes: number;
}

export interface NewPipeline {
  /** Paths of what was written, relative to the project. */
  files: string[];
  /** What was assumed, in sentences. */
  notes: string[];
  example: object;
  /** The answer for the example. */
  answer: ModelOutput;
}

/** Maximum number of sample events. */
const maxEvents = 200;

/**
 * Writes a pipeline for a model: contract, model folder, pipeline.json, example and test. Checks first that
 * the samples are scored on the whole way from event to prediction. Overwrites nothing, and writes all or
 * nothing.
 *
 * @throws MillraceError `MODEL_REFUSED` (the graph), `FILE_INVALID` (the sample), `FILES_EXIST`,
 *   `PIPELINE_INVALID` (the name), `PROJECT_INVALID`, `FILE_UNREADABLE`.
 */
export async function newPipeline(options: NewPipelineOptions): Promise<NewPipeline> {
  const { project, name } = options;
  await pipelineNames(project);
  if (!isPipelineName(name)) {
    throw new MillraceError(
      'PIPELINE_INVALID',
      `A pipeline can’t have the name '${name}'. Use letters, digits, '-' and '_', at most 100, and neither millrace nor shared.`,
    );
  }
  const targets = targetsOf(name);
  const present = targets.find((target) => existsSync(join(project, target)));
  if (present !== undefined) {
    throw new MillraceError(
      'FILES_EXIST',
      `${join(project, present)} exists, and nothing is overwritten. Use another name, remove it, or add a version to the model with \`millrace models add ${name}\`.`,
    );
  }
  const made = await make(options);
  const files = filesOf(name, made);
  await writeChecked(project, files, targets, (folder) => check(folder, name, made));
  return { files: [...files.keys()], notes: made.notes, example: made.example, answer: made.answer };
}

function targetsOf(name: string): string[] {
  return [
    `schemas/${name}`,
    `models/${name}`,
    `processors/pipelines/${name}`,
    `examples/${name}.json`,
    `examples/${name}.jsonl`,
    `tests/${name}.test.mjs`,
  ];
}

interface Made {
  version: MadeVersion;
  contract: RecordSchema;
  pipeline: object;
  events: Record<string, unknown>[];
  answers: ModelOutput[];
  example: Record<string, unknown>;
  answer: ModelOutput;
  notes: string[];
}

async function make(options: NewPipelineOptions): Promise<Made> {
  const {
    name,
    key,
    label,
    choice,
    maxBytes,
    encodings: encodingFiles = new Map<string, string>(),
  } = options;
  const graph = await readGraphFile(options.model, maxBytes);
  const slots = inputSlots(graph);
  const sample = options.sample === undefined ? undefined : await readSample(options.sample);
  const named = options.predictions ?? [];
  const predictions = predictionColumns(
    sample,
    named,
    slots.map((slot) => slot.name),
  );
  const encodings = await readEncodings(encodingFiles, sample);
  const assignment = assignInputs(slots, sample, { key, label, predictions });
  const { inputs: assigned, inputTensor } = assignment;
  const model = modelRows(sample, assigned, encodings, predictions);
  const version = await makeVersion({
    graph,
    name,
    version: '1',
    inputs: model.inputs,
    inputTensor,
    rows: model.rows,
    predictions: model.predictions,
    choice,
  });
  const wants = new Map(
    assigned.map(({ column, dtype, shape }) => [
      column,
      { dtype, isList: shape !== undefined, isEncoded: encodings.has(column) },
    ]),
  );
  const removed = [...(label === undefined ? [] : [label]), ...predictions];
  const { events, fields } =
    sample === undefined
      ? { events: [], fields: fieldPathsOf(new Map(assigned.map(({ column }) => [column, [column]]))) }
      : sampleEvents(sample, removed, wants);
  const wanted = new Map(
    assigned.map(({ name: input, column, dtype, shape }): [string, WantedValue] => [
      fields.get(column) ?? column,
      { input, dtype, shape, isEncoded: encodings.has(column) },
    ]),
  );
  const keyField = key === undefined ? undefined : fields.get(key);
  if (key !== undefined && keyField === undefined) {
    if (sample !== undefined) throw unknownColumn(sample, key, '--key');
    throw new MillraceError(
      'FILE_INVALID',
      `The key ${key} is no input of the graph, and without --sample there are no other fields. Give rows with --sample.`,
    );
  }
  const contract = inferContract({
    pipeline: name,
    events: events.map((event, index) => ({ row: index + 1, event })),
    wanted,
    key: keyField,
    file: options.sample ?? '',
  });
  const scored = usable(
    events,
    version,
    contract,
    fields,
    assigned.map(({ column }) => column),
  );
  const [first] = scored;
  if (first === undefined) throw new Error('unreachable: a version has an answer for a row or more');
  const renamed = assigned.filter(({ name: input, column }) => fields.get(column) !== input);
  const pipeline = {
    ...(keyField === undefined ? {} : { key: keyField }),
    ...(renamed.length === 0
      ? {}
      : {
          inputs: Object.fromEntries(
            renamed.map(({ name: input, column }) => [input, fields.get(column) ?? column]),
          ),
        }),
    sample: { events: `examples/${name}.jsonl` },
  };
  return {
    version,
    contract,
    pipeline,
    events: scored.map(({ event }) => event),
    answers: scored.map(({ answer }) => answer),
    example: first.event,
    answer: first.answer,
    notes: [
      ...roleNotes(predictions, named, sample?.columns.includes('event_id') ?? false),
      ...assignment.notes,
      ...version.notes,
      ...contractNotes(contract, wanted),
    ],
  };
}

interface ScoredEvent {
  event: Record<string, unknown>;
  answer: ModelOutput;
}

/**
 * Returns events that have a score, those without missing values first. Without a sample they have the golden
 * values.
 */
function usable(
  events: readonly Record<string, unknown>[],
  { answers, golden }: MadeVersion,
  contract: RecordSchema,
  fields: ReadonlyMap<string, string>,
  columns: readonly string[],
): ScoredEvent[] {
  const scored = (
    events.length > 0
      ? events
      : golden.rows.map(({ features }) =>
          Object.fromEntries(columns.map((column, at) => [fields.get(column) ?? column, features[at]])),
        )
  ).flatMap((event, index): ScoredEvent[] => {
    const answer = answers[index];
    return answer === undefined ? [] : [{ event: onlyFields(event, contract), answer }];
  });
  const isWhole = ({ event }: ScoredEvent): boolean => !Object.values(event).includes(null);
  return [...scored.filter(isWhole), ...scored.filter((each) => !isWhole(each))].slice(0, maxEvents);
}

/** A field without any value has no type, and so is not in the contract. */
function onlyFields(event: Record<string, unknown>, { fields }: RecordSchema): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(event).filter(([name]) => fields.some((field) => field.name === name)),
  );
}

function roleNotes(predictions: readonly string[], named: readonly string[], hasEventId: boolean): string[] {
  return [
    ...(predictions.length > 0 && named.length === 0
      ? [
          `${predictions.join(', ')} ${predictions.length === 1 ? 'is taken for the prediction' : 'are taken for the predictions'} of the training library, because of the name.`,
        ]
      : []),
    ...(hasEventId ? ['event_id is the id of an event and no field of it.'] : []),
  ];
}

function contractNotes({ fields }: RecordSchema, wanted: ReadonlyMap<string, WantedValue>): string[] {
  const limited = fields.filter(({ minimum, maximum }) => minimum !== undefined || maximum !== undefined);
  const nullable = fields.filter(({ type, name }) => Array.isArray(type) && wanted.has(name));
  const others = fields.filter(
    ({ name }) => ![...wanted.keys()].some((path) => path === name || path.startsWith(`${name}.`)),
  );
  return [
    ...(limited.length > 0
      ? [
          `The limits of numbers are guesses, ten times the sample rows or more: see minimum and maximum in the contract. They are on ${limited.map((field) => field.name).join(', ')}.`,
        ]
      : []),
    ...(nullable.length > 0
      ? [`May be null, because a row has no value: ${nullable.map(({ name }) => name).join(', ')}.`]
      : []),
    ...(others.length > 0
      ? [`No input of the model, so optional in events: ${others.map(({ name }) => name).join(', ')}.`]
      : []),
  ];
}

function filesOf(
  name: string,
  { version, contract, pipeline, events, example }: Made,
): Map<string, string | Uint8Array> {
  const folder = `models/${name}/${version.manifest.version}`;
  return new Map<string, string | Uint8Array>([
    [`schemas/${name}/event.v1.avsc`, toJson(contract)],
    [`${folder}/model.onnx`, version.onnx],
    [`${folder}/model.json`, toJson(version.manifest)],
    [`${folder}/golden.json`, toJson(version.golden)],
    [`processors/pipelines/${name}/pipeline.json`, toJson(pipeline)],
    [`examples/${name}.json`, toJson(example)],
    [`examples/${name}.jsonl`, events.map((event) => `${JSON.stringify(event)}\n`).join('')],
    [`tests/${name}.test.mjs`, testOf(name, version.manifest)],
  ]);
}

/** Scores the sample events on the whole way: contract, features, model with its golden rows. */
async function check(staging: string, name: string, { events, answers }: Made): Promise<void> {
  const { pipeline, contract } = await loadPipeline(staging, name);
  const folder = join(staging, 'models', name, '1');
  const { manifest } = await readModel(folder);
  const schema = eventSchema(contract.schema);
  const rows = events.map((event) => {
    const parsed = schema.safeParse(event);
    if (!parsed.success) throw broken(new InvalidEvent(fieldErrors(parsed.error)));
    const row = makeRow(pipeline, manifest, parsed.data);
    if (row instanceof MillraceError) throw broken(row);
    return row;
  });
  const outputs = await smokeTest({ folder, rows }).catch((error: unknown) => {
    throw broken(new Error(messageOf(error).replaceAll(`${staging}/`, ''), { cause: error }));
  });
  const allowed = 1e-5 * Math.max(1, ...answers.map(({ score }) => Math.abs(score)));
  const odd = outputs.findIndex(
    ({ score, label }, at) =>
      !(Math.abs(score - (answers[at]?.score ?? Number.NaN)) <= allowed) || label !== answers[at]?.label,
  );
  if (odd !== -1)
    throw broken(
      new Error(
        `sample event ${odd + 1} has the score ${outputs[odd]?.score} instead of ${answers[odd]?.score}`,
      ),
    );
}

function broken(error: Error): MillraceError {
  return new MillraceError(
    'PIPELINE_INVALID',
    `The new pipeline does not score its sample events, so nothing was written: ${messageOf(error)}.`,
    { cause: error },
  );
}
