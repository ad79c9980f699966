import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { loadConfig } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import { contractNames, generateTypes } from '../schemas/generate-types.js';

export function generateCommand(): Command {
  return new Command('generate')
    .description('write schemas/types.ts: a TypeScript interface for each contract of a project')
    .argument('[project]', 'folder of the project (default: MILLRACE_PROJECT, else the working directory)')
    .action((project: string | undefined) => {
      const folder = project === undefined ? loadConfig(process.env).MILLRACE_PROJECT : resolve(project);
      console.log(writeTypes(folder));
    });
}

/**
 * Writes `schemas/types.ts` of a project, unless a contract is refused.
 *
 * @returns what was done, for people.
 * @throws MillraceError `CONTRACT_INVALID`.
 */
export function writeTypes(project: string): string {
  const schemas = join(project, 'schemas');
  if (!existsSync(schemas))
    throw new MillraceError(
      'CONTRACT_INVALID',
      `There is no folder ${schemas}. Name the folder of your project: millrace generate PROJECT.`,
    );
  const file = join(schemas, 'types.ts');
  writeFileSync(file, generateTypes(schemas));
  const { length } = contractNames(schemas);
  return `${file} has the types of ${length} contract${length === 1 ? '' : 's'}.`;
}
