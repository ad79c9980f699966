import { createHash } from 'node:crypto';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';
import type { GoldenRow } from '../manifest.js';

/**
 * Folder of the test models `sum`, `fails-on-negative`, `nan-on-negative` and `busy`, each with three
 * features.
 */
export const testingModels = join(packageRoot, 'models', 'testing');

export interface ModelChanges {
  manifest?: Record<string, unknown>;
  golden?: GoldenRow[];
  /** New content of model.onnx. Also updates the digest in model.json. */
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

/** Changes the digest of a model by appending a doc string. Parsers use the last one. */
export function withNote(onnx: Uint8Array, note: string): Uint8Array {
  const text = Buffer.from(note);
  const docString = 6;
  return Buffer.concat([onnx, Buffer.from([docString * 8 + 2, text.length]), text]);
}
