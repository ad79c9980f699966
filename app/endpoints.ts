import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../platform/errors.js';

/** Addresses of a running system, stored as `endpoints.json` in the data folder. */
export interface Endpoints {
  http: string;
  kafka: string[];
  schema_registry: string;
  clickhouse: string;
}

export async function writeEndpoints(dataDir: string, endpoints: Endpoints): Promise<void> {
  await writeFile(fileIn(dataDir), `${JSON.stringify(endpoints, undefined, 2)}\n`);
}

/** Returns the endpoints of the current or last system on this data folder, if any. */
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
