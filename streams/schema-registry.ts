import type { ConnectionOptions } from 'node:tls';
import type { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import type {
  SchemaRegistryAPIClient,
  SchemaRegistryAPIClientArgs,
} from '@kafkajs/confluent-schema-registry/dist/api/index.js';
import { MillraceError, messageOf } from '../platform/errors.js';
import { withoutCredentials } from '../platform/secrets.js';
import { tlsAdvice } from '../platform/tls-problems.js';
import { TlsAgent } from '../platform/tls-settings.js';

export interface SchemaRegistryOptions {
  /** May contain a user and password. */
  url: string;
  username?: string;
  password?: string;
  /** For `https:`, such as a private authority. Default: Node's. */
  tls?: ConnectionOptions;
  /** Timeout of one request. Default 5 s. */
  timeoutMs?: number;
}

/** The registry's entry for an id. */
export interface RegisteredSchema {
  schema: string;
  schemaType: string;
}

type Middleware = NonNullable<SchemaRegistryAPIClientArgs['middlewares']>[number];
type Next = Parameters<NonNullable<ReturnType<Middleware>['response']>>[0];
type Response = Awaited<ReturnType<Next>>;

interface Answer {
  status: number;
  body: Record<string, unknown>;
  /** By the answer's `Date`, milliseconds since 1970. */
  date: number | undefined;
}

/**
 * A schema registry with Confluent's REST API, through the client of `@kafkajs/confluent-schema-registry`, of
 * which only the requests are used. Its own handling of answers reports an unavailable registry as status 400
 * and any page's 404 as an unknown schema, and would make Avro, JSON Schema or Protobuf types of schemas
 * before the serde has bounded them.
 */
export class SchemaRegistryClient {
  readonly #url: string;
  readonly #timeoutMs: number;
  readonly #open: () => Promise<SchemaRegistryAPIClient>;
  #api: Promise<SchemaRegistryAPIClient> | undefined;

  constructor({ url, username, password, tls, timeoutMs = 5_000 }: SchemaRegistryOptions) {
    this.#url = withoutCredentials(url).replace(/\/+$/, '');
    this.#timeoutMs = timeoutMs;
    const inUrl = new URL(url);
    const user = username ?? decodeURIComponent(inUrl.username);
    const secret = password ?? decodeURIComponent(inUrl.password);
    const headers: Record<string, string> = { accept: 'application/vnd.schemaregistry.v1+json' };
    // The package's own basic authentication supports only Latin-1.
    if (user !== '')
      headers['authorization'] = `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
    const agent =
      tls !== undefined && inUrl.protocol === 'https:'
        ? { agent: new TlsAgent(tls, { keepAlive: true }) }
        : {};
    this.#open = async () => {
      // Takes a third of a second to load, for unused types of schemas: most commands never use the registry.
      const { SchemaRegistry: Registry } = await import('@kafkajs/confluent-schema-registry');
      const registry = new Registry({ host: this.#url, retry: { retries: 0 }, ...agent });
      return wireOf(registry, answersAsTheyCame(headers));
    };
  }

  /**
   * Registers a schema (the same one again has the same id).
   *
   * @throws MillraceError `SCHEMA_INCOMPATIBLE`, `SCHEMA_INVALID`, or `REGISTRY_UNAVAILABLE` (retriable).
   */
  async register(subject: string, schema: string): Promise<number> {
    const { status, body } = await this.#ask(`registering ${subject}`, (api, signal) =>
      api.Subject.register({ subject, body: { schema }, signal }),
    );
    if (status === 200 && typeof body['id'] === 'number') return body['id'];
    const reason = text(body['message']) ?? `status ${status}`;
    if (status === 409)
      throw new MillraceError(
        'SCHEMA_INCOMPATIBLE',
        `The schema registry refuses a new version of ${subject}: ${reason}. Give new fields defaults, delete the version that stands in the way, or use another topic.`,
      );
    if (status === 422)
      throw new MillraceError('SCHEMA_INVALID', `The schema registry can't read ${subject}: ${reason}.`);
    throw this.#unavailable(`registering ${subject}`, reason);
  }

  /**
   * Sets a subject's compatibility level, unless it has one.
   *
   * @returns `refused` with the reason, if this user lacks the permission or the registry the feature.
   * @throws MillraceError `REGISTRY_UNAVAILABLE` (retriable).
   */
  async keepLevel(subject: string, level: string): Promise<'set' | 'kept' | { refused: string }> {
    const found = await this.#ask(`asking for the level of ${subject}`, (api, signal) =>
      api.Subject.config({ subject, signal }),
    );
    if (found.status === 200) return 'kept';
    // 40401 or 40408; a web server that doesn't know the path has no such code.
    if (found.status !== 404 || typeof found.body['error_code'] !== 'number')
      throw this.#unavailable(`asking for the level of ${subject}`, `status ${found.status}`);
    const what = `setting the level of ${subject}`;
    const { status, body } = await this.#ask(
      what,
      (api, signal) => api.Subject.updateConfig({ subject, body: { compatibility: level }, signal }),
      [401, 403],
    );
    const reason = text(body['message']) ?? `status ${status}`;
    if (status >= 500) throw this.#unavailable(what, reason);
    return status === 200 ? 'set' : { refused: reason };
  }

  /** Fetches a schema. @throws MillraceError `SCHEMA_UNKNOWN`, or `REGISTRY_UNAVAILABLE` (retriable). */
  async schema(id: number): Promise<RegisteredSchema> {
    const { status, body } = await this.#ask(`fetching schema ${id}`, (api, signal) =>
      api.Schema.find({ id, signal }),
    );
    if (status === 200 && typeof body['schema'] === 'string')
      return { schema: body['schema'], schemaType: text(body['schemaType']) ?? 'AVRO' };
    // Any web server answers 404 to an unknown path; only the registry gives the reason.
    if (status === 404 && body['error_code'] === 40403)
      throw new MillraceError('SCHEMA_UNKNOWN', `The schema registry has no schema with id ${id}.`);
    throw this.#unavailable(`fetching schema ${id}`, text(body['message']) ?? `status ${status}`);
  }

  /**
   * Checks whether a subject has this schema, and if not whether it would accept it. Changes nothing.
   *
   * @throws MillraceError `REGISTRY_UNAVAILABLE` (retriable).
   */
  async standing(subject: string, schema: string): Promise<'registered' | 'compatible' | 'incompatible'> {
    const body = { schema };
    const found = await this.#ask(`looking ${subject} up`, (api, signal) =>
      api.Subject.registered({ subject, body, signal }),
    );
    if (found.status === 200) return 'registered';
    if (found.status !== 404) throw this.#unavailable(`looking ${subject} up`, `status ${found.status}`);
    const { status, body: verdict } = await this.#ask(`comparing ${subject}`, (api, signal) =>
      api.Subject.compatible({ subject, body, signal }),
    );
    // The first version of a subject is always compatible.
    if (status === 404) return 'compatible';
    if (status !== 200)
      throw this.#unavailable(`comparing ${subject}`, text(verdict['message']) ?? `status ${status}`);
    return verdict['is_compatible'] === true ? 'compatible' : 'incompatible';
  }

  /**
   * Returns the registry's time by its answer's `Date`, which has whole seconds, milliseconds since 1970;
   * undefined if it has none.
   *
   * @throws MillraceError `REGISTRY_UNAVAILABLE` (retriable).
   */
  async time(): Promise<number | undefined> {
    const { date } = await this.#ask('listing subjects', (api, signal) => api.Subject.all({ signal }));
    return date;
  }

  /** @throws MillraceError `REGISTRY_UNAVAILABLE` (retriable) when the registry does not answer. */
  async ping(): Promise<void> {
    const { status } = await this.#ask('listing subjects', (api, signal) => api.Subject.all({ signal }));
    if (status !== 200) throw this.#unavailable('listing subjects', `status ${status}`);
  }

  /** @param fine - statuses that the caller handles, among those that otherwise mean a rejected user. */
  async #ask(
    what: string,
    send: (api: SchemaRegistryAPIClient, signal: AbortSignal) => Promise<unknown>,
    fine: readonly number[] = [],
  ): Promise<Answer> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    try {
      this.#api ??= this.#open();
      const api = await this.#api;
      // For the package, a truncated answer never ends.
      const answer = await Promise.race([send(api, signal), timeOut(signal)]);
      if (!isResponse(answer)) throw new Error('no answer');
      const failure = answer.error();
      if (failure !== null) throw failure;
      const status = answer.status();
      if ((status === 401 || status === 403) && !fine.includes(status))
        throw this.#unauthorized(what, status);
      const date = Date.parse(String(answer.header('date')));
      return { status, body: toObject(answer.data()), date: Number.isNaN(date) ? undefined : date };
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      const reason = signal.aborted ? `no answer in ${this.#timeoutMs} ms` : messageOf(error);
      throw this.#unavailable(what, reason, error);
    }
  }

  #unauthorized(what: string, status: number): MillraceError {
    return new MillraceError(
      'REGISTRY_UNAVAILABLE',
      `The schema registry at ${this.#url} does not let this user in (${what}, status ${status}). Check SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD.`,
      { misconfigured: true },
    );
  }

  #unavailable(what: string, reason: string, cause?: unknown): MillraceError {
    const tls = tlsAdvice(cause, 'SCHEMA_REGISTRY');
    return new MillraceError(
      'REGISTRY_UNAVAILABLE',
      `The schema registry at ${this.#url} did not do its part (${what}): ${reason}. ${tls ?? 'It is tried again; check SCHEMA_REGISTRY_URL and that it runs.'}`,
      { misconfigured: tls !== undefined, cause },
    );
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function toObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/**
 * The package's requests, with a middleware nearest to the wire. Its option `middlewares` adds them behind
 * its own, which reduces a failure to a message and a status, 400 for a broken connection. So ours is put in
 * front, in mappersmith's list.
 */
function wireOf(registry: SchemaRegistry, middleware: Middleware): SchemaRegistryAPIClient {
  // oxlint-disable-next-line typescript/dot-notation -- private to TypeScript alone
  const api = registry['api'];
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- not in mappersmith's types; a test looks at it
  const { _manifest: manifest } = api as unknown as { _manifest: { middleware: Middleware[] } };
  manifest.middleware.unshift(middleware);
  return api;
}

/** Passes on the registry's answer unchanged, whatever its status. */
function answersAsTheyCame(headers: Record<string, string>): Middleware {
  return () => ({
    prepareRequest: async (next) => (await next()).enhance({ headers }),
    response: (next) =>
      next().catch((failed: unknown) => {
        if (isResponse(failed)) return failed;
        throw failed;
      }),
  });
}

function isResponse(value: unknown): value is Response {
  return typeof value === 'object' && value !== null && 'status' in value && 'error' in value;
}

function timeOut(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('no answer in time')), { once: true });
  });
}
