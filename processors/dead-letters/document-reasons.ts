import { join } from 'node:path';
import { errorKinds } from '../../platform/error-codes.js';
import { packageRoot } from '../../platform/paths.js';
import { deadLetterReasons } from './reasons.js';

/** The page that explains dead letters. */
export const reasonsPage = join(packageRoot, 'docs', 'bad-input.md');

/** Returns the page with the table of reasons from the code. */
export function withReasons(page: string): string {
  const rows = deadLetterReasons.map((code) => `| \`${code}\` | ${errorKinds[code].deadLetter} |`);
  const table = ['| reason | meaning |', '| --- | --- |', ...rows].join('\n');
  return page.replace(/(?<=<!-- reasons: .* -->\n).*(?=<!-- end of reasons -->)/s, () => `\n${table}\n\n`);
}
