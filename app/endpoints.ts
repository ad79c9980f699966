import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../platform/errors.js';

/** Where everything is. Programs find it in `endpoints.json` in the data folder. */
export interface Endpoints {
  http: string;
  kafka: string[];
  schema_registry: string;
  clickhouse: string;
}

export async function writeEndpoints(dataDir: string, endpoints: Endpoints): Promise<void> {
  await writeFile(fileIn(dataDir), `${JSON.stringify(endpoints, undefined, 2)}\n`);
}

/** Where the system is that runs, or ran last, on this data folder; nothing if none ever did. */
export async function readEndpoints(dataDir: string): Promise<Endpoints | undefined> {
  try {
    return JSON.parse(await readFile(fileIn(dataDir), 'utf8')) as Endpoints;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function fileIn(dataDir: string): string {
  return join(dataDir, 'endpoints.json');
}
