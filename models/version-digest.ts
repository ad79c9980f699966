import { createHash } from 'node:crypto';
import type { NewVersion } from './lifecycle/commands.js';
import type { ModelManifest } from './manifest.js';

type Identity = Pick<ModelManifest, 'digest' | 'runtime' | 'inputs' | 'output' | 'outputs'>;

/**
 * Returns the digest of a version: SHA-256, in lowercase hex, of all that decides its answers. Besides the
 * graph these are `runtime`, `inputs`, `output` and `outputs` of model.json: another threshold or encoding is
 * another version.
 */
export function versionDigest({ digest, runtime, inputs, output, outputs }: Identity): string {
  const content = canonical([digest, runtime, inputs, output, outputs ?? []]);
  return createHash('sha256').update(JSON.stringify(content)).digest('hex');
}

/**
 * Whether a registered digest is of this version. Earlier releases registered the digest of model.onnx, which
 * these versions keep, since prediction ids follow from it.
 */
export function isDigestOf(manifest: Identity, registered: string): boolean {
  return registered === versionDigest(manifest) || registered === manifest.digest;
}

/** Returns what the log has of a version. */
export function identityOf(manifest: Identity & Pick<ModelManifest, 'version'>): NewVersion {
  return { version: manifest.version, digest: versionDigest(manifest), graphDigest: manifest.digest };
}

/** Sorts the keys of objects, whose order in a file means nothing. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  const sorted = entries.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(sorted.map(([key, each]) => [key, canonical(each)]));
}
