import { createHash } from 'node:crypto';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../../platform/paths.js';
import type { GoldenRow } from '../manifest.js';

/** Registry of the tiny models: `sum`, `fails-on-negative`, `nan-on-negative`, `busy`; each takes three features. */
export const testingModels = join(projectRoot, 'models', 'testing');

export interface ModelChanges {
  manifest?: Record<string, unknown>;
  golden?: GoldenRow[];
  /** New content of model.onnx; the digest in the copy's model.json is changed to match. */
  onnx?: Uint8Array;
}

/** Copies a version folder and changes the copy. Returns the copy's path. */
export async function copyModel(source: string, target: string, changes: ModelChanges = {}): Promise<string> {
  await cp(source, target, { recursive: true });
  const file = join(target, 'model.json');
  const manifest: unknown = JSON.parse(await readFile(file, 'utf8'));
  const digest =
    changes.onnx === undefined ? {} : { digest: createHash('sha256').update(changes.onnx).digest('hex') };
  await writeFile(file, JSON.stringify(Object.assign({}, manifest, digest, changes.manifest)));
  if (changes.golden) await writeFile(join(target, 'golden.json'), JSON.stringify({ rows: changes.golden }));
  if (changes.onnx) await writeFile(join(target, 'model.onnx'), changes.onnx);
  return target;
}

/** The same model under another digest: a model file may end in any number of notes, of which the last one counts. */
export function withNote(onnx: Uint8Array, note: string): Uint8Array {
  const text = Buffer.from(note);
  const docString = 6;
  return Buffer.concat([onnx, Buffer.from([docString * 8 + 2, text.length]), text]);
}
