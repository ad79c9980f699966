import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { versionFiles } from '../../models/registration/receive.js';
import { copyModel, type ModelChanges, withNote } from '../../models/testing/copy-model.js';
import { projectRoot } from '../../platform/paths.js';

const shipped = join(projectRoot, 'models', 'credit-default', '1');

/** The shipped graph of `credit-default`. */
export const creditOnnx: Uint8Array = readFileSync(join(shipped, 'model.onnx'));

/** Folders with versions of `credit-default`, of the shipped one with changes. */
export class VersionFolders {
  readonly #roots: string[] = [];

  /** A version of its own: another name, and another digest as its graph has a note in it. */
  async make(version: string, changes: ModelChanges = {}): Promise<string> {
    const root = await mkdtemp(join(tmpdir(), 'millrace-version-'));
    this.#roots.push(root);
    const onnx = changes.onnx ?? withNote(creditOnnx, version);
    const manifest = { version, ...changes.manifest };
    return copyModel(shipped, join(root, 'version'), { ...changes, onnx, manifest });
  }

  async remove(): Promise<void> {
    for (const root of this.#roots.splice(0)) await rm(root, { recursive: true });
  }
}

/** A folder as the body of a registration. */
export async function toForm(folder: string): Promise<FormData> {
  const form = new FormData();
  for (const name of versionFiles) form.set(name, new Blob([await readFile(join(folder, name))]), name);
  return form;
}
