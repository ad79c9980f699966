import { MillraceError, messageOf } from '../platform/errors.js';

export interface SchemaRegistryOptions {
  url: string;
  username?: string;
  password?: string;
  /** Of one request. Default 5 s. */
  timeoutMs?: number;
}

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

  constructor({ url, username, password = '', timeoutMs = 5_000 }: SchemaRegistryOptions) {
    this.#url = url.replace(/\/+$/, '');
    this.#timeoutMs = timeoutMs;
    this.#headers = { accept: 'application/vnd.schemaregistry.v1+json' };
    if (username !== undefined)
      this.#headers['authorization'] = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
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
      const init: RequestInit = { headers: this.#headers, signal: AbortSignal.timeout(this.#timeoutMs) };
      if (body) {
        init.method = 'POST';
        init.body = JSON.stringify(body);
        init.headers = { ...this.#headers, 'content-type': 'application/vnd.schemaregistry.v1+json' };
      }
      const response = await fetch(this.#url + path, init);
      const date = Date.parse(response.headers.get('date') ?? '');
      return {
        status: response.status,
        body: parseObject(await response.text()),
        date: Number.isNaN(date) ? undefined : date,
      };
    } catch (error) {
      throw this.#unavailable(path, messageOf(error), error);
    }
  }

  #unavailable(what: string, reason: string, cause?: unknown): MillraceError {
    return new MillraceError(
      'REGISTRY_UNAVAILABLE',
      `The schema registry at ${this.#url} did not do its part (${what}): ${reason}. It is tried again; check SCHEMA_REGISTRY_URL and that it runs.`,
      { retriable: true, cause },
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
