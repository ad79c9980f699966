import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { versionFiles } from '../registration/install.js';
import { copyModel, type ModelChanges, withNote } from './copy-model.js';
import { packageRoot } from '../../platform/paths.js';

const shipped = (model: string): string => join(packageRoot, 'models', model, '1');

/** The shipped graph of `credit-default`. */
export const creditOnnx: Uint8Array = readFileSync(join(shipped('credit-default'), 'model.onnx'));

/** Temporary folders with modified versions of the shipped models. */
export class VersionFolders {
  readonly #roots: string[] = [];

  /**
   * Creates a version with another name and digest (by a note in the graph). Default model: `credit-default`.
   */
  async make(version: string, changes: ModelChanges = {}, model = 'credit-default'): Promise<string> {
    const root = await mkdtemp(join(tmpdir(), 'millrace-version-'));
    this.#roots.push(root);
    const onnx = changes.onnx ?? withNote(await readFile(join(shipped(model), 'model.onnx')), version);
    const manifest = { version, ...changes.manifest };
    return copyModel(shipped(model), join(root, 'version'), { ...changes, onnx, manifest });
  }

  async remove(): Promise<void> {
    for (const root of this.#roots.splice(0)) await rm(root, { recursive: true });
  }
}

/** Returns a folder as a registration body. */
export async function toForm(folder: string): Promise<FormData> {
  const form = new FormData();
  for (const name of versionFiles) form.set(name, new Blob([await readFile(join(folder, name))]), name);
  return form;
}
