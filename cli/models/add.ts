import { join } from 'node:path';
import type { Config } from '../../platform/config.js';
import { addVersion } from '../../processors/scaffold/add-version.js';
import { choicesOf, type SampleOptions } from '../sample-options.js';
import { registerFolder } from './register.js';

export interface AddOptions extends SampleOptions {
  version?: string;
  register?: boolean;
  json?: boolean;
}

/** Writes the folder of another version of a model in the project, and registers it if asked. */
export async function addModelVersion(config: Config, name: string, options: AddOptions): Promise<void> {
  const { MILLRACE_PROJECT: project, MAX_MODEL_BYTES: maxBytes } = config;
  const { model, sample, version, register = false, json = false } = options;
  const added = await addVersion({ project, name, model, sample, version, maxBytes, ...choicesOf(options) });
  if (json) console.log(JSON.stringify(added));
  else {
    console.log(`Wrote version ${added.version} of ${name}: ${added.folder}`);
    for (const note of added.notes) console.log(`  - ${note}`);
    if (!register) {
      console.log(`Register it with \`millrace models register ${added.folder}\`. The next start also does.`);
    }
  }
  if (register) await registerFolder(config, join(project, added.folder), { json });
}
