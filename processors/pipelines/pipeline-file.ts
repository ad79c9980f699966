import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { didYouMean } from '../../platform/closest-name.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { JsonFile, type JsonPath, type JsonProblem } from '../../platform/json-file.js';
import { type Contract, loadContract } from '../../schemas/contracts.js';
import { type FieldPath, fieldPaths, findPath, readPath } from '../../schemas/field-paths.js';
import type { Pipeline } from './pipeline.js';
import { loadSample } from './sample-file.js';

const text = z.string().min(1);

/** Content of `pipeline.json`. Its paths are relative to the project. */
const pipelineFileSchema = z.strictObject({
  contract: text.optional(),
  key: text.optional(),
  models: z.array(text).min(1).optional(),
  model: z.strictObject({ field: text, by_value: z.record(text, text) }).optional(),
  inputs: z.record(text, text).optional(),
  sample: z
    .strictObject({ events: text.optional(), figures: text.optional() })
    .refine((sample) => Object.keys(sample).length === 1, 'has to have one of events and figures')
    .optional(),
});

type PipelineFile = z.infer<typeof pipelineFileSchema>;

/** What a `pipeline.json` describes. */
interface DescribedPipeline {
  pipeline: Pipeline;
  contract: Contract;
}

/**
 * Reads a pipeline without code.
 *
 * @param file - a `pipeline.json`.
 * @throws MillraceError `PIPELINE_INVALID` or `CONTRACT_INVALID`, with file, line and member.
 */
export async function readPipelineFile(
  project: string,
  name: string,
  file: string,
): Promise<DescribedPipeline> {
  const json = new JsonFile(await readFile(file, 'utf8'), file, 'PIPELINE_INVALID');
  const described = json.check(pipelineFileSchema);
  const folder = described.contract ?? `schemas/${name}`;
  const contract = at(json, ['contract'], () => loadEventContract(project, folder));
  const models = described.models ?? [...new Set(Object.values(described.model?.by_value ?? { name }))];
  const fields = new ContractFields(contract, `${folder}/event.v${contract.version}.avsc`);
  const problems = [
    ...problemsOfModel(described, models, fields),
    ...problemsOfKey(described, fields),
    ...Object.entries(described.inputs ?? {}).flatMap(([input, path]) =>
      fields.problem(['inputs', input], path, (kind) => kind !== 'record' && kind !== 'map'),
    ),
  ];
  if (problems.length > 0) throw json.error(problems);
  const { key, model, inputs, sample } = described;
  const pipeline: Pipeline = {
    name,
    models,
    ...(model === undefined ? {} : { model: modelByValue(model) }),
    ...(inputs === undefined ? {} : { inputs }),
    ...(key === undefined ? {} : { key: keyAt(key) }),
    ...(sample === undefined
      ? {}
      : { sample: await atAsync(json, ['sample'], () => loadSample(project, sample, contract)) }),
  };
  return { pipeline, contract };
}

/** The paths that events of a contract have. */
class ContractFields {
  readonly #contract: Contract;
  readonly #file: string;
  readonly #known: readonly FieldPath[];

  constructor(contract: Contract, file: string) {
    this.#contract = contract;
    this.#file = file;
    this.#known = fieldPaths(contract);
  }

  find(path: string): FieldPath | undefined {
    return findPath(this.#contract, path);
  }

  /**
   * Returns the problem of a member that names a path: there is no such field, or it is of a kind that does
   * not fit.
   */
  problem(member: JsonPath, path: string, fits: (kind: FieldPath['of']['kind']) => boolean): JsonProblem[] {
    const found = this.find(path);
    if (found === undefined) {
      const names = this.#known.map((known) => known.path);
      const hint = didYouMean(path, names) || ` There are: ${some(names)}.`;
      return [{ path: member, message: `there is no field ${path} in ${this.#file}.${hint}` }];
    }
    if (fits(found.of.kind)) return [];
    const inside = this.#known
      .filter((known) => known.path.startsWith(`${path}.`))
      .map((known) => known.path);
    const hint = inside.length === 0 ? '' : ` Name a field of it: ${some(inside)}.`;
    const message = `${path} is a value of type ${found.type}, which can’t be used here.${hint}`;
    return [{ path: member, message }];
  }
}

function problemsOfModel(
  { model, models: named }: PipelineFile,
  models: readonly string[],
  fields: ContractFields,
): JsonProblem[] {
  if (model === undefined) {
    if (named === undefined || named.length === 1) return [];
    const message = 'needs `model` beside it, which selects one of several models for an event.';
    return [{ path: ['models'], message }];
  }
  const { field, by_value: byValue } = model;
  const fits = (kind: string): boolean => ['string', 'enum', 'boolean', 'int', 'long'].includes(kind);
  const problems = fields.problem(['model', 'field'], field, fits);
  const values = Object.keys(byValue);
  if (values.length === 0) problems.push({ path: ['model', 'by_value'], message: 'has no value.' });
  for (const [value, chosen] of Object.entries(byValue)) {
    if (models.includes(chosen)) continue;
    const hint = didYouMean(chosen, models) || ' Add it there.';
    problems.push({ path: ['model', 'by_value', value], message: `${chosen} is not in \`models\`.${hint}` });
  }
  const type = fields.find(field)?.of;
  if (type?.kind !== 'enum') return problems;
  const missing = type.symbols.filter((symbol) => !values.includes(symbol));
  if (missing.length > 0) {
    const message = `has no model for ${missing.join(', ')}, which ${field} can be.`;
    problems.push({ path: ['model', 'by_value'], message });
  }
  for (const value of values.filter((each) => !type.symbols.includes(each))) {
    const hint = didYouMean(value, type.symbols) || ` It is one of ${type.symbols.join(', ')}.`;
    problems.push({ path: ['model', 'by_value', value], message: `${field} is never ${value}.${hint}` });
  }
  return problems;
}

function problemsOfKey({ key }: PipelineFile, fields: ContractFields): JsonProblem[] {
  if (key === undefined) return [];
  return fields.problem(['key'], key, (kind) => !['record', 'map', 'array'].includes(kind));
}

function modelByValue({ field, by_value: byValue }: NonNullable<PipelineFile['model']>) {
  return (event: object): string => {
    const value = String(readPath(event, field));
    const model = Object.hasOwn(byValue, value) ? byValue[value] : undefined;
    if (model !== undefined) return model;
    throw new Error(`${field} is ${value}, and there are models for ${Object.keys(byValue).join(', ')}`);
  };
}

/** Events without the value are their own subject, as they are without a key. */
function keyAt(path: string) {
  return (event: object): string | undefined => {
    const value = readPath(event, path);
    if (typeof value === 'string') return value;
    return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
  };
}

function loadEventContract(project: string, folder: string): Contract {
  if (!existsSync(join(project, folder))) {
    const parent = join(project, 'schemas');
    const folders = existsSync(parent) ? readdirSync(parent).map((name) => `schemas/${name}`) : [];
    const hint = didYouMean(folder, folders) || ' It has to hold event.v1.avsc, the contract of the events.';
    throw new MillraceError('CONTRACT_INVALID', `there is no folder ${folder} in ${project}.${hint}`);
  }
  return loadContract(folder, 'event', project);
}

function at<T>(json: JsonFile, path: JsonPath, load: () => T): T {
  try {
    return load();
  } catch (error) {
    throw placed(json, path, error);
  }
}

async function atAsync<T>(json: JsonFile, path: JsonPath, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw placed(json, path, error);
  }
}

function placed(json: JsonFile, path: JsonPath, error: unknown): MillraceError {
  const code = error instanceof MillraceError ? error.code : 'PIPELINE_INVALID';
  const place = `${json.file}:${json.lineOf(path)}: ${path.map(String).join('.')}`;
  return new MillraceError(code, `${place}: ${messageOf(error)}.`, { cause: error });
}

/** Returns some of the names, for a message. */
function some(names: readonly string[]): string {
  const more = names.length > 12 ? `, and ${names.length - 12} more` : '';
  return `${names.slice(0, 12).join(', ')}${more}`;
}
