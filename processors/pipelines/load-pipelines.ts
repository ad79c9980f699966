import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { didYouMean } from '../../platform/closest-name.js';
import { isSystemError, MillraceError, messageOf } from '../../platform/errors.js';
import { type Contract, loadContract } from '../../schemas/contracts.js';
import { eventSchema } from '../../schemas/event-schema.js';
import type { Pipeline } from './pipeline.js';
import { readPipelineFile } from './pipeline-file.js';

/** A pipeline of a project, with its contract. */
export interface UsablePipeline {
  name: string;
  pipeline: Pipeline;
  /** The newest version of its events' contract. */
  contract: Contract;
}

/** A pipeline of a project that can't be used. */
export interface FailedPipeline {
  name: string;
  problem: MillraceError;
}

export type LoadedPipeline = UsablePipeline | FailedPipeline;

/** Folder of a project's pipelines: one folder each. */
export function pipelinesFolder(project: string): string {
  return join(project, 'processors', 'pipelines');
}

/** Folder of a project's contracts: one folder each. */
export function contractsFolder(project: string): string {
  return join(project, 'schemas');
}

/** Folder of the model versions of a project: `<model>/<version>/`. */
export function modelsFolder(project: string): string {
  return join(project, 'models');
}

export function isUsable(loaded: LoadedPipeline): loaded is UsablePipeline {
  return 'pipeline' in loaded;
}

/**
 * Loads every pipeline of a project: one folder each in `processors/pipelines/`. One that can't be loaded is
 * returned with its problem, and does not affect the others. A file that has changed since is loaded again.
 *
 * @returns the pipelines, sorted by name.
 * @throws MillraceError `PROJECT_INVALID` when the project has no folder of pipelines.
 */
export async function loadPipelines(project: string): Promise<LoadedPipeline[]> {
  const names = await pipelineNames(project);
  return Promise.all(names.map((name) => tryPipeline(project, name)));
}

/**
 * As {@link loadPipelines}, for one.
 *
 * @param changed - another value loads its code anew. Default: when its file was changed last.
 */
export async function tryPipeline(project: string, name: string, changed?: string): Promise<LoadedPipeline> {
  try {
    return await load(project, name, changed);
  } catch (error) {
    if (error instanceof MillraceError) return { name, problem: error };
    const message = `The pipeline ${name} can’t be loaded: ${messageOf(error)}.`;
    return { name, problem: new MillraceError('PIPELINE_INVALID', message, { cause: error }) };
  }
}

/** As {@link loadPipelines}, without those that can't be loaded. @throws MillraceError the first problem. */
export async function loadUsablePipelines(project: string): Promise<UsablePipeline[]> {
  return (await loadPipelines(project)).map((loaded) => {
    if (isUsable(loaded)) return loaded;
    throw loaded.problem;
  });
}

/**
 * Returns the names of a project's pipelines, sorted: usable or not.
 *
 * @throws MillraceError `PROJECT_INVALID` when the project has no folder of pipelines.
 */
export async function pipelineNames(project: string): Promise<string[]> {
  const folder = pipelinesFolder(project);
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.'))
      .map(({ name }) => name)
      .toSorted();
  } catch (error) {
    const problem = isSystemError(error, 'ENOENT')
      ? `${project} is not a Millrace project: it has no folder processors/pipelines`
      : `Cannot read ${folder}: ${messageOf(error)}`;
    throw new MillraceError(
      'PROJECT_INVALID',
      `${problem}. Run the command in the folder of a project, set MILLRACE_PROJECT to it, or create one with \`millrace init\`.`,
      { cause: error },
    );
  }
}

/** Names that topics and contracts of Millrace itself have. */
const reserved = new Set(['millrace', 'shared']);

/** Whether a pipeline can have the name: topics, routes and folders have it too. */
export function isPipelineName(name: string): boolean {
  return /^[a-z0-9][a-z0-9_-]{0,99}$/i.test(name) && !reserved.has(name);
}

/**
 * Loads one pipeline and its contract.
 *
 * @throws MillraceError `PIPELINE_UNKNOWN`, `PIPELINE_INVALID`, `CONTRACT_INVALID` or `PROJECT_INVALID`.
 */
export async function loadPipeline(project: string, name: string): Promise<UsablePipeline> {
  const names = await pipelineNames(project);
  if (names.includes(name)) return load(project, name);
  const hint = didYouMean(name, names) || ` There are: ${names.join(', ')}.`;
  throw new MillraceError('PIPELINE_UNKNOWN', `There is no pipeline '${name}' in ${project}.${hint}`);
}

async function load(project: string, name: string, changed?: string): Promise<UsablePipeline> {
  if (!isPipelineName(name)) {
    throw new MillraceError(
      'PIPELINE_INVALID',
      `A pipeline can’t have the name '${name}'. Use letters, digits, '-' and '_', at most 100, and neither ` +
        `${[...reserved].join(' nor ')}: rename ${join(pipelinesFolder(project), name)}.`,
    );
  }
  const described = join(pipelinesFolder(project), name, 'pipeline.json');
  if ((await changedAt(described)) !== undefined) {
    const { pipeline, contract } = await readPipelineFile(project, name, described);
    eventSchema(contract.schema);
    return { name, pipeline, contract };
  }
  const pipeline = await importPipeline(await findModule(project, name), name, changed);
  const contract = loadContract(name, 'event', contractsFolder(project));
  // Refuses types that an event can't have.
  eventSchema(contract.schema);
  return { name, pipeline, contract };
}

/** A function's arguments and result are the pipeline's own matter: problems come up with events. */
const callable = z.custom<never>((value) => typeof value === 'function', 'must be a function').optional();
const members = {
  name: z.string(),
  models: z.array(z.string()).min(1).optional(),
  model: callable,
  features: callable,
  inputs: z.record(z.string(), z.string()).optional(),
  key: callable,
  sample: callable,
} satisfies Record<keyof Pipeline, z.ZodType>;
const pipelineShape = z.strictObject(members);

/** Top-level code that waits forever must not keep the other pipelines from being loaded. */
async function inTime<T>(importing: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${importMs / 1000} s`)), importMs);
  });
  return Promise.race([importing, late]).finally(() => clearTimeout(timer));
}

const importMs = 30_000;

async function importPipeline(file: string, name: string, changed?: string): Promise<Pipeline> {
  const invalid = (problem: string, cause?: unknown): MillraceError =>
    new MillraceError('PIPELINE_INVALID', `${file} ${problem}`, { cause });
  const { mtimeMs } = await stat(file);
  let module: { pipeline?: unknown };
  try {
    // Modules are kept by their URL: a changed file has another.
    const importing = import(`${pathToFileURL(file).href}?changed=${changed ?? mtimeMs}`);
    module = (await inTime(importing)) as typeof module;
  } catch (error) {
    throw invalid(`can’t be loaded: ${messageOf(error)}.`, error);
  }
  if (module.pipeline === undefined) {
    throw invalid(
      `has no export \`pipeline\`. Add \`export const pipeline = definePipeline({ name: '${name}', … })\`.`,
    );
  }
  const { error } = pipelineShape.safeParse(module.pipeline);
  if (error !== undefined) {
    const problems = error.issues.map(({ path, message }) => [...path.map(String), message].join(': '));
    throw invalid(`exports a wrong \`pipeline\`: ${problems.join('; ')}.`);
  }
  const pipeline = module.pipeline as Pipeline;
  if (pipeline.name === name) return pipeline;
  throw invalid(
    `exports a pipeline with the name '${pipeline.name}'. Its folder is ${name}: give both one name.`,
  );
}

/** Returns the file of a pipeline's code. @throws MillraceError `PIPELINE_INVALID` if none can be run. */
async function findModule(project: string, name: string): Promise<string> {
  const folder = join(pipelinesFolder(project), name);
  const javaScript = join(folder, 'pipeline.js');
  const source = join(folder, 'pipeline.ts');
  const compiled = join(project, 'dist', relative(project, javaScript));
  if ((await changedAt(javaScript)) !== undefined) return javaScript;
  const [sourceAt, compiledAt] = await Promise.all([changedAt(source), changedAt(compiled)]);
  if (sourceAt === undefined) {
    throw new MillraceError(
      'PIPELINE_INVALID',
      `${folder} has no pipeline.json, pipeline.js or pipeline.ts. Add one of them.`,
    );
  }
  if (compiledAt !== undefined && compiledAt >= sourceAt) return compiled;
  if (runsTypeScript()) return source;
  const outdated = compiledAt === undefined ? '' : `, and ${compiled} is older`;
  throw new MillraceError(
    'PIPELINE_INVALID',
    `Node ${process.versions.node} can’t run ${source}${outdated}. Use Node 22.18 or later, compile it with ` +
      `\`tsc\` to ${compiled}, write it as pipeline.js, or describe the pipeline in pipeline.json.`,
  );
}

/** Whether Node runs TypeScript as it is: from 22.18 on, unless an option turns it off. */
function runsTypeScript(): boolean {
  return Boolean((process.features as { typescript?: string | false }).typescript);
}

async function changedAt(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).mtimeMs;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
