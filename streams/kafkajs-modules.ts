import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';

export const require = createRequire(import.meta.url);
const root = dirname(require.resolve('kafkajs/package.json')) + sep;

/** Loads one of kafkajs' own modules, by its path under `src/`. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows the module's shape
export function internal<T>(path: string): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- untyped JavaScript; the tests hold its shape
  return require(`${root}src/${path}.js`) as T;
}

/** Replaces what one of kafkajs' own modules exports, for all that are loaded later. */
export function replace(path: string, exports: unknown): void {
  internal(path);
  const module = require.cache[require.resolve(`${root}src/${path}.js`)];
  if (module) module.exports = exports;
}

/** Lets all of kafkajs be loaded anew: modules that are loaded already hold what is to be replaced. */
export function unload(): void {
  for (const path of Object.keys(require.cache)) if (path.startsWith(root)) delete require.cache[path];
}
