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

/** `millrace keys`: API keys. */
export function keysCommand(): Command {
  const command = new Command('keys').description('create API keys');
  command
    .command('new')
    .description('print a new key once, and its entry for API_KEYS_FILE, which holds only its SHA-256')
    .argument(
      '<name>',
      'client name, for logs and metrics; keys with the same name belong to the same client',
    )
    .option('--pipelines <names>', 'pipelines that the key may use, comma separated (default: all)')
    .option('--scopes <names>', `scopes, comma separated, of ${scopes.join(', ')}`, 'score,read')
    .option('--rate-limit <count>', 'requests or events per second (default: RATE_LIMIT_PER_SECOND)', Number)
    .option('--expires <time>', 'expiry: a date or a time, UTC unless it has a zone')
    .action((name: string, options: NewKeyOptions) => {
      const { key, entry } = makeApiKey(rightsOf(name, options));
      const problem = entryProblem(entry);
      if (problem !== undefined)
        throw new MillraceError('KEY_INVALID', `Cannot create this key: ${problem}.`);
      console.error('API key for the client, shown only once:');
      console.log(key);
      console.error('Entry for the list `keys` in API_KEYS_FILE:');
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
    throw new MillraceError(
      'KEY_INVALID',
      `${text} is not a time such as 2030-01-01 or 2030-01-01T12:00:00Z.`,
    );
  return time.toISOString();
}
