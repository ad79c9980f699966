import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';

/**
 * Permissions of a key: score and see its own jobs; look things up; change models; see the jobs of all keys.
 */
export const scopes = ['score', 'read', 'models', 'jobs'] as const;
export type Scope = (typeof scopes)[number];

/** The sender of a request, and its permissions. */
export interface Client {
  /** For logs, metrics and its jobs; never the key. Empty if no keys are required. */
  name: string;
  /** Its unique identity. Two keys of one name are one client. */
  id: string;
  scopes: ReadonlySet<Scope>;
  /** Undefined: all. */
  pipelines: ReadonlySet<string> | undefined;
  /** Undefined: the limit of `RATE_LIMIT_PER_SECOND`. */
  perSecond: number | undefined;
}

/** The client of every request if no keys are required. */
export const anyone: Client = {
  name: '',
  id: '',
  scopes: new Set(scopes),
  pipelines: undefined,
  perSecond: undefined,
};

const entrySchema = z.strictObject({
  // Lower case: those of API_KEYS have upper-case names.
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'is no name of a-z, 0-9, dots, dashes and underscores'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/i, 'is no SHA-256 as 64 hexadecimal digits'),
  pipelines: z.array(z.string()).min(1).optional(),
  scopes: z.array(z.enum(scopes)).min(1).default(['score', 'read']),
  rate_limit_per_second: z.int().min(1).max(1_000_000_000).optional(),
  expires: z.iso.datetime({ offset: true }).optional(),
});
const fileSchema = z.strictObject({ keys: z.array(entrySchema) });

/** An entry of `API_KEYS_FILE`. */
export type ApiKeyEntry = z.input<typeof entrySchema>;

interface Key {
  digest: Buffer;
  client: Client;
  expiresAt: number;
}

export interface ApiKeysOptions {
  /** `API_KEYS`: each has all permissions. */
  keys?: readonly string[] | undefined;
  /** `API_KEYS_FILE` */
  file?: string | undefined;
  /** Returns the names of all pipelines, also of those that are down. */
  pipelines: () => readonly string[];
  logger: Logger;
  /** Milliseconds since 1970. Default `Date.now`. */
  now?: () => number;
}

/** Interval of reading the file, milliseconds. */
const readEveryMs = 1_000;

/** The API keys of `API_KEYS` and `API_KEYS_FILE`; only their SHA-256 is kept. */
export class ApiKeys {
  /** Whether clients must send a key at all. */
  readonly required: boolean;
  readonly #options: ApiKeysOptions;
  readonly #unlimited: readonly Key[];
  readonly #now: () => number;
  readonly #watch: NodeJS.Timeout | undefined;
  #fromFile: readonly Key[] = [];
  /** The text from which {@link #fromFile} was parsed. */
  #inForce = '';
  #problem: string | undefined;

  /** @throws MillraceError `CONFIG_INVALID` for an invalid file. */
  constructor(options: ApiKeysOptions) {
    const { keys = [], file } = options;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.required = keys.length > 0 || file !== undefined;
    this.#unlimited = keys.map((key, index) => {
      const digest = digestOf(key);
      const client = { ...anyone, name: `API_KEYS-${index + 1}`, id: digest.toString('hex') };
      return { digest, client, expiresAt: Number.POSITIVE_INFINITY };
    });
    if (file === undefined) return;
    this.#take(file);
    this.#watch = setInterval(() => this.#takeAgain(file), readEveryMs).unref();
  }

  /** Why the current file is not in force; its previous keys still are, including removed ones. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /**
   * Returns the client of a key. Keys are compared as digests and all of them each time, so the time reveals
   * nothing.
   *
   * @throws MillraceError `API_KEY_REQUIRED`
   */
  find(sent: string): Client {
    const digest = digestOf(sent);
    const found = [...this.#unlimited, ...this.#fromFile].filter((key) =>
      timingSafeEqual(key.digest, digest),
    );
    const valid = found.find(({ expiresAt }) => expiresAt > this.#now());
    if (valid !== undefined) return valid.client;
    const [expired] = found;
    throw new MillraceError(
      'API_KEY_REQUIRED',
      expired === undefined
        ? 'Send one of the API keys as `Authorization: Bearer …` or `X-API-Key`.'
        : `The API key '${expired.client.name}' expired at ${new Date(expired.expiresAt).toISOString()}. Ask for a new one.`,
    );
  }

  stop(): void {
    clearInterval(this.#watch);
  }

  /** Loads the keys of the file. @returns whether they changed. @throws MillraceError `CONFIG_INVALID` */
  #take(file: string): boolean {
    // All of it each time: two texts can have the same size and time, and a refused file can become valid.
    const text = readText(file);
    if (text === this.#inForce) return false;
    this.#fromFile = toKeys(file, text, this.#options.pipelines());
    this.#inForce = text;
    return true;
  }

  #takeAgain(file: string): void {
    const { logger } = this.#options;
    try {
      const changed = this.#take(file);
      if (changed || this.#problem !== undefined)
        logger.info({ keys: this.#fromFile.length }, 'API_KEYS_FILE was read again');
      this.#problem = undefined;
    } catch (error) {
      const problem = `${messageOf(error)}. The keys from before stay in force, also those that were taken out.`;
      if (problem !== this.#problem) logger.error(problem);
      this.#problem = problem;
    }
  }
}

export interface NewApiKey {
  /** For its client. It is stored nowhere. */
  key: string;
  /** For the file. */
  entry: ApiKeyEntry;
}

/** Generates a key: 256 random bits after a prefix that secret scanners can find. */
export function makeApiKey(rights: Omit<ApiKeyEntry, 'sha256'>): NewApiKey {
  const key = `millrace_${randomBytes(32).toString('base64url')}`;
  const { name, ...others } = rights;
  return { key, entry: { name, sha256: digestOf(key).toString('hex'), ...others } };
}

/** Returns the problem of an entry, if any. */
export function entryProblem(entry: ApiKeyEntry): string | undefined {
  const { error } = entrySchema.safeParse(entry);
  return error === undefined ? undefined : problemsOf(error);
}

function toKeys(file: string, text: string, pipelines: readonly string[]): Key[] {
  const entries = parseEntries(file, text);
  const unknown = entries.flatMap((entry) => entry.pipelines ?? []).find((name) => !pipelines.includes(name));
  if (unknown !== undefined)
    throw invalid(file, `there is no pipeline '${unknown}', there are ${pipelines.join(', ')}`);
  return entries.map((entry) => ({
    digest: Buffer.from(entry.sha256, 'hex'),
    client: {
      name: entry.name,
      id: `name:${entry.name}`,
      scopes: new Set(entry.scopes),
      pipelines: entry.pipelines === undefined ? undefined : new Set(entry.pipelines),
      perSecond: entry.rate_limit_per_second,
    },
    expiresAt: entry.expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(entry.expires),
  }));
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(file, messageOf(error));
  }
}

function parseEntries(file: string, text: string): z.output<typeof entrySchema>[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Errors of JSON.parse contain part of the text, which may be a key.
    throw invalid(file, 'it is no JSON');
  }
  const { data, error } = fileSchema.safeParse(json);
  if (error !== undefined) throw invalid(file, problemsOf(error));
  return data.keys;
}

function problemsOf(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join('.') || 'it'}: ${message}`).join('; ');
}

function invalid(file: string, problem: string): MillraceError {
  return new MillraceError('CONFIG_INVALID', `API_KEYS_FILE (${file}) can't be used: ${problem}`);
}

function digestOf(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
