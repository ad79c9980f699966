import { createMetrics } from '../../platform/metrics.js';
import { type ServedAlias } from '../lifecycle/model-slot.js';
import { ServedVersion } from '../lifecycle/served-version.js';
import type { ModelRuntime } from '../runtime.js';

/** Loads a version folder, as if set by the alias event at offset `event`. */
export async function serveFolder(runtime: ModelRuntime, folder: string, event = 1): Promise<ServedAlias> {
  const batching = { maxRows: 64, maxDelayMs: 0, maxInFlight: 2 };
  const version = new ServedVersion(await runtime.load(folder), batching, createMetrics());
  return { version, event, at: 1_700_000_000_000 };
}
