import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';

const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace', 'deploy-tools');

/** Where install.sh puts a tool; unset if the tool is missing. */
export function tool(path: string): string | undefined {
  const file = join(cache, path);
  return existsSync(file) ? file : undefined;
}

/** Declares tests that need tools. They are skipped if a tool is missing, and their heading says so. */
export function describeWithTools<Names extends string>(
  name: string,
  tools: Record<Names, string>,
  tests: (tools: Record<Names, string>) => void,
): void {
  const missing = Object.values<string>(tools).filter((path) => tool(path) === undefined);
  const reason =
    missing.length === 0 ? '' : ` NEEDS ${missing.join(', ')} (get it with tests/deploy/install.sh)`;
  describe.skipIf(missing.length > 0)(`${name}${reason}`, () => {
    tests(
      Object.fromEntries(
        Object.entries<string>(tools).map(([key, path]) => [key, join(cache, path)]),
      ) as Record<Names, string>,
    );
  });
}
