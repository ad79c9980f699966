import { Command } from 'commander';
import {
  type ApiKeyEntry,
  entryProblem,
  makeApiKey,
  type Scope,
  scopes,
} from '../ingest/api-keys/api-keys.js';
import { MillraceError } from '../platform/errors.js';

interface NewKeyOptions {
  pipelines?: string;
  scopes: string;
  rateLimit?: number;
  expires?: string;
}

/** `millrace keys`: keys of the HTTP API. */
export function keysCommand(): Command {
  const command = new Command('keys').description('make API keys');
  command
    .command('new')
    .description('print a new key, once, and its entry for API_KEYS_FILE, which has no more than its SHA-256')
    .argument('<name>', 'whose it is: for logs and metrics; a second key of the same name is the same client')
    .option('--pipelines <names>', 'the only pipelines that it is for, comma separated (default: all)')
    .option('--scopes <names>', `what it may do, of ${scopes.join(', ')}`, 'score,read')
    .option('--rate-limit <count>', 'requests or events a second (default: RATE_LIMIT_PER_SECOND)', Number)
    .option('--expires <time>', 'until when it works: a date or a time, UTC where it names no zone')
    .action((name: string, options: NewKeyOptions) => {
      const { key, entry } = makeApiKey(rightsOf(name, options));
      const problem = entryProblem(entry);
      if (problem !== undefined)
        throw new MillraceError('KEY_INVALID', `No such key can be made: ${problem}.`);
      console.error('The key, for its client. It is shown this once:');
      console.log(key);
      console.error('Its entry, for the list `keys` in API_KEYS_FILE:');
      console.log(JSON.stringify(entry, undefined, 2));
    });
  return command;
}

function rightsOf(name: string, { pipelines, rateLimit, expires, ...options }: NewKeyOptions) {
  return {
    name,
    ...(pipelines === undefined ? {} : { pipelines: split(pipelines) }),
    scopes: split(options.scopes) as Scope[],
    ...(rateLimit === undefined ? {} : { rate_limit_per_second: rateLimit }),
    ...(expires === undefined ? {} : { expires: toTime(expires) }),
  } satisfies Omit<ApiKeyEntry, 'sha256'>;
}

function split(names: string): string[] {
  return names
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

function toTime(text: string): string {
  const zoned = /(?:Z|[+-]\d\d:?\d\d)$/i.test(text) || !text.includes('T') ? text : `${text}Z`;
  const time = new Date(zoned);
  if (Number.isNaN(time.getTime()))
    throw new MillraceError('KEY_INVALID', `${text} is no time, such as 2030-01-01 or 2030-01-01T12:00:00Z.`);
  return time.toISOString();
}
