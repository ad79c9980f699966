import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { versionFiles } from '../../models/registration/install.js';
import { isSystemError, messageOf } from '../../platform/errors.js';
import {
  contractsFolder,
  modelsFolder,
  pipelineNames,
  pipelinesFolder,
} from '../../processors/pipelines/load-pipelines.js';

/**
 * What may change in a project: a pipeline with its contract, a version of a model, or which models are in
 * use.
 */
export type Part =
  | { kind: 'pipeline'; name: string }
  | { kind: 'version'; model: string; version: string; folder: string }
  | { kind: 'model'; model: string };

/** A part, and a text that differs after each change of its files. */
export interface PartState {
  part: Part;
  files: string;
}

/** The parts of a project, by a name for logs. */
export type ProjectState = ReadonlyMap<string, PartState>;

/**
 * Looks at the files of a project. A model comes after its versions.
 *
 * @param models - names of those in use.
 * @throws Error if a folder is there but can't be listed now: its pipelines must not look removed.
 */
export async function readProject(project: string, models: readonly string[]): Promise<ProjectState> {
  const names = await pipelineNames(project).catch((error: unknown) => {
    if (error instanceof Error && isSystemError(error.cause, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  });
  const pipelines = names.map(async (name): Promise<[string, PartState]> => {
    const folders = [
      join(pipelinesFolder(project), name),
      join(project, 'dist', 'processors', 'pipelines', name),
      join(contractsFolder(project), name),
      ...(await namedFiles(project, name)),
    ];
    const files = (await Promise.all(folders.map(describe))).join('\n');
    return [`processors/pipelines/${name}`, { part: { kind: 'pipeline', name }, files }];
  });
  const versions = models.map(async (model): Promise<[string, PartState][]> => {
    const parent = join(modelsFolder(project), model);
    const listed = await readdir(parent, { withFileTypes: true }).catch((error: unknown) => {
      // Versions in a folder that may not be read can't be used either.
      if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'EPERM')) return [];
      throw error;
    });
    const found = listed.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'));
    const states = await Promise.all(
      found.map(async ({ name: version }) => {
        const folder = join(parent, version);
        const files = await Promise.all(versionFiles.map((file) => describe(join(folder, file))));
        const part: Part = { kind: 'version', model, version, folder };
        return [`models/${model}/${version}`, { part, files: files.join('\n') }] as [string, PartState];
      }),
    );
    return [...states, [`models/${model}`, { part: { kind: 'model', model }, files: '' }]];
  });
  const [pipelineParts, modelParts] = await Promise.all([Promise.all(pipelines), Promise.all(versions)]);
  return new Map([...pipelineParts, ...modelParts.flat()]);
}

/** Files elsewhere in the project that a pipeline.json names. */
async function namedFiles(project: string, pipeline: string): Promise<string[]> {
  try {
    const file = join(pipelinesFolder(project), pipeline, 'pipeline.json');
    const { contract, sample } = JSON.parse(await readFile(file, 'utf8')) as {
      contract?: unknown;
      sample?: { events?: unknown; figures?: unknown };
    };
    const named = [contract, sample?.events, sample?.figures];
    return named.flatMap((each) => (typeof each === 'string' ? [join(project, each)] : []));
  } catch {
    return [];
  }
}

/**
 * Describes a file, or all files of a folder, by size and time of change; what can't be read, by the reason.
 */
async function describe(path: string): Promise<string> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) return `${path} ${found.size} ${found.mtimeMs} ${found.ino}`;
    const inside = await Promise.all((await readdir(path)).map((name) => describe(join(path, name))));
    return inside.join('\n');
  } catch (error) {
    return isSystemError(error, 'ENOENT', 'ENOTDIR') ? '' : `${path} ${messageOf(error)}`;
  }
}
