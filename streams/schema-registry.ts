import type { ConnectionOptions } from 'node:tls';
import { MillraceError, messageOf } from '../platform/errors.js';
import { httpRequest } from '../platform/http-request.js';
import { withoutCredentials } from '../platform/secrets.js';
import { tlsAdvice } from '../platform/tls-problems.js';
import { TlsAgent } from '../platform/tls-settings.js';

export interface SchemaRegistryOptions {
  /** A user and password in it are used. */
  url: string;
  username?: string;
  password?: string;
  /** For `https:`, such as an authority of one's own. Default: Node's. */
  tls?: ConnectionOptions;
  /** Of one request. Default 5 s. */
  timeoutMs?: number;
}

/** A schema has some kilobytes. */
const maxBytes = 64 * 1024 * 1024;

/** What the registry holds for an id. */
export interface RegisteredSchema {
  schema: string;
  schemaType: string;
}

/**
 * The two calls of the Confluent Schema Registry's REST API that Millrace makes.
 *
 * They are made directly, not through `@kafkajs/confluent-schema-registry`: that package reports a registry that is
 * down as status 400 and any page's 404 like an unknown schema, so its errors can't tell a bad record from an outage;
 * and it refuses to register under a subject whose compatibility level is not the one it was told.
 */
export class SchemaRegistryClient {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #timeoutMs: number;
  readonly #agent: TlsAgent | undefined;

  constructor({ url, username, password, tls, timeoutMs = 5_000 }: SchemaRegistryOptions) {
    this.#url = withoutCredentials(url).replace(/\/+$/, '');
    this.#timeoutMs = timeoutMs;
    this.#agent = tls === undefined ? undefined : new TlsAgent(tls, { keepAlive: true });
    const inUrl = new URL(url);
    const user = username ?? decodeURIComponent(inUrl.username);
    const secret = password ?? decodeURIComponent(inUrl.password);
    this.#headers = { accept: 'application/vnd.schemaregistry.v1+json' };
    if (user !== '')
      this.#headers['authorization'] = `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
  }

  /**
   * Registers a schema (the same one again is the same id).
   *
   * @throws MillraceError `SCHEMA_INCOMPATIBLE`, `SCHEMA_INVALID`, or `REGISTRY_UNAVAILABLE` (retriable).
   */
  async register(subject: string, schema: string): Promise<number> {
    const path = `/subjects/${encodeURIComponent(subject)}/versions`;
    const { status, body } = await this.#request(path, { schema });
    if (status === 200 && typeof body['id'] === 'number') return body['id'];
    const reason = text(body['message']) ?? `status ${status}`;
    if (status === 409)
      throw new MillraceError(
        'SCHEMA_INCOMPATIBLE',
        `The schema registry refuses a new version of ${subject}: ${reason}. Give new fields defaults, or use another topic.`,
      );
    if (status === 422)
      throw new MillraceError('SCHEMA_INVALID', `The schema registry can't read ${subject}: ${reason}.`);
    throw this.#unavailable(`registering ${subject}`, reason);
  }

  /** @throws MillraceError `SCHEMA_UNKNOWN`, or `REGISTRY_UNAVAILABLE` (retriable). */
  async schema(id: number): Promise<RegisteredSchema> {
    const { status, body } = await this.#request(`/schemas/ids/${id}`);
    if (status === 200 && typeof body['schema'] === 'string')
      return { schema: body['schema'], schemaType: text(body['schemaType']) ?? 'AVRO' };
    // Any web server answers 404 to a path that it does not know; only the registry says why.
    if (status === 404 && body['error_code'] === 40403)
      throw new MillraceError('SCHEMA_UNKNOWN', `The schema registry has no schema with id ${id}.`);
    throw this.#unavailable(`fetching schema ${id}`, text(body['message']) ?? `status ${status}`);
  }

  /**
   * Whether a subject has this schema, and if not whether it would take it. Changes nothing.
   *
   * @throws MillraceError `REGISTRY_UNAVAILABLE` (retriable).
   */
  async standing(subject: string, schema: string): Promise<'registered' | 'compatible' | 'incompatible'> {
    const name = encodeURIComponent(subject);
    const found = await this.#request(`/subjects/${name}`, { schema });
    if (found.status === 200) return 'registered';
    if (found.status !== 404) throw this.#unavailable(`looking ${subject} up`, `status ${found.status}`);
    const { status, body } = await this.#request(`/compatibility/subjects/${name}/versions/latest`, {
      schema,
    });
    // Nothing stands against the first version of a subject.
    if (status === 404) return 'compatible';
    if (status !== 200)
      throw this.#unavailable(`comparing ${subject}`, text(body['message']) ?? `status ${status}`);
    return body['is_compatible'] === true ? 'compatible' : 'incompatible';
  }

  /**
   * The registry's time by its answer's `Date`, which has whole seconds, milliseconds since 1970; undefined if it has none.
   *
   * @throws MillraceError `REGISTRY_UNAVAILABLE` (retriable).
   */
  async time(): Promise<number | undefined> {
    const { date } = await this.#request('/subjects');
    return date;
  }

  /** @throws MillraceError `REGISTRY_UNAVAILABLE` (retriable) when the registry does not answer. */
  async ping(): Promise<void> {
    const { status } = await this.#request('/subjects');
    if (status !== 200) throw this.#unavailable('listing subjects', `status ${status}`);
  }

  async #request(
    path: string,
    body?: object,
  ): Promise<{ status: number; body: Record<string, unknown>; date: number | undefined }> {
    try {
      const options = { headers: this.#headers, agent: this.#agent, timeoutMs: this.#timeoutMs, maxBytes };
      const sent = {
        ...options,
        method: 'POST',
        body: JSON.stringify(body),
        headers: { ...this.#headers, 'content-type': 'application/vnd.schemaregistry.v1+json' },
      };
      const { status, text: answer, headers } = await httpRequest(this.#url + path, body ? sent : options);
      if (status === 401 || status === 403) throw this.#unauthorized(path, status);
      const date = Date.parse(headers.date ?? '');
      return { status, body: parseObject(answer), date: Number.isNaN(date) ? undefined : date };
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      throw this.#unavailable(path, messageOf(error), error);
    }
  }

  #unauthorized(what: string, status: number): MillraceError {
    return new MillraceError(
      'REGISTRY_UNAVAILABLE',
      `The schema registry at ${this.#url} does not let this user in (${what}, status ${status}). Check SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD.`,
      { retriable: true, misconfigured: true },
    );
  }

  #unavailable(what: string, reason: string, cause?: unknown): MillraceError {
    const tls = tlsAdvice(cause, 'SCHEMA_REGISTRY');
    return new MillraceError(
      'REGISTRY_UNAVAILABLE',
      `The schema registry at ${this.#url} did not do its part (${what}): ${reason}. ${tls ?? 'It is tried again; check SCHEMA_REGISTRY_URL and that it runs.'}`,
      { retriable: true, misconfigured: tls !== undefined, cause },
    );
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function parseObject(json: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(json);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
  } catch {
    return {};
  }
}
