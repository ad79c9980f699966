import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';

/** A model of the zoo, and what became of it in Python. */
export interface ZooModel {
  name: string;
  library: string;
  /** Class of the model. Unset if training it failed. */
  model?: string;
  /** Why it can't be exported. */
  refused?: string;
  /** What went wrong otherwise: a fault of the zoo. */
  failed?: string;
}

/** Rows that a model was not trained on, and what the library that trained it predicts for them. */
export interface HeldOut {
  /** Names of the columns of `values`. */
  classes: string[] | null;
  rows: {
    event: Record<string, unknown>;
    label: string | null;
    /** One number; one for each class; or the elements of a vector. */
    values: number | number[];
  }[];
}

const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
export const python = join(cache, 'millrace', 'python-models', 'bin', 'python');

/**
 * Trains and exports all models into a new project.
 *
 * @returns its folder, which the caller removes, and the models.
 */
export async function trainZoo(): Promise<{ project: string; models: ZooModel[] }> {
  if (!existsSync(python)) throw new Error(`There is no ${python}: run tests/zoo/install.sh first.`);
  const project = await mkdtemp(join(tmpdir(), 'millrace-zoo-'));
  const program = join(packageRoot, 'tests', 'zoo', 'zoo.py');
  const { status, stdout, stderr } = spawnSync(python, [program, project], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ended with ${status}:\n${stdout}${stderr}`);
  return { project, models: JSON.parse(readFileSync(join(project, 'zoo.json'), 'utf8')) as ZooModel[] };
}

export function heldOutOf(project: string, name: string): HeldOut {
  return JSON.parse(readFileSync(join(project, 'held-out', `${name}.json`), 'utf8')) as HeldOut;
}
