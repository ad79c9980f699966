import { z } from 'zod';
import { MillraceError, messageOf } from '../../platform/errors.js';

/**
 * Reference to a model version: `name@alias`, `name/version`, or a stage of older servers (`Staging`,
 * `Production`, `Archived`, or `latest`) in place of either.
 */
export type ModelReference = { name: string } & ({ alias: string } | { version: string });

export interface MlflowClientOptions {
  /** `http(s)://[user:password@]host[:port][/path]` of the tracking server. */
  trackingUri: string;
  /**
   * As in MLflow's clients: `MLFLOW_TRACKING_TOKEN`, `…_USERNAME` and `…_PASSWORD`. A token takes precedence.
   */
  token?: string | undefined;
  username?: string | undefined;
  password?: string | undefined;
  /** Idle timeout, in milliseconds. Default 30,000. */
  timeoutMs?: number;
}

const pairs = z
  .array(z.looseObject({ key: z.string(), value: z.union([z.string(), z.number()]).default('') }))
  .default([])
  .transform((items) => Object.fromEntries(items.map(({ key, value }) => [key, value])));

const versionSchema = z.object({
  model_version: z.object({
    name: z.string(),
    version: z.coerce.string(),
    source: z.string().default(''),
    run_id: z.string().default(''),
    description: z.string().default(''),
    tags: pairs,
  }),
});

const versionsSchema = z.object({
  model_versions: z.array(versionSchema.shape.model_version).default([]),
});

const runSchema = z.object({
  run: z.object({
    data: z
      .object({ metrics: pairs.default({}), params: pairs.default({}) })
      .default({ metrics: {}, params: {} }),
  }),
});

const filesSchema = z.object({
  files: z
    .array(
      z.object({
        path: z.string(),
        is_dir: z.boolean().default(false),
        file_size: z.coerce.number().optional(),
      }),
    )
    .default([]),
});

/** Stages of older registries. `latest` means all of them. */
const stages = ['None', 'Staging', 'Production', 'Archived', 'latest'];

const uriSchema = z.object({ artifact_uri: z.string() });
const errorSchema = z.object({ error_code: z.string().default(''), message: z.string() });

/** A version in an MLflow registry. */
export type MlflowVersion = z.infer<typeof versionSchema>['model_version'];

/** Data of a training run. */
export type MlflowRun = z.infer<typeof runSchema>['run']['data'];

/** Top-level artifact files of a version. */
export interface Artifacts {
  /** Sizes by name, if the server returns them. */
  files: ReadonlyMap<string, number | undefined>;
  /**
   * @param name - one of `files`.
   * @throws MillraceError `MLFLOW_MODEL_UNFIT` if it is larger than `maxBytes`, and as every call.
   */
  download(name: string, maxBytes: number): Promise<Uint8Array>;
}

/** Parses a reference to a model version. @throws MillraceError `MLFLOW_REFERENCE_INVALID` */
export function parseReference(reference: string): ModelReference {
  const [, name, mark, which] = /^(?:models:\/)?([^/:@]+)([@/])([^/@]+)$/.exec(reference) ?? [];
  if (name === undefined || which === undefined) {
    throw new MillraceError(
      'MLFLOW_REFERENCE_INVALID',
      `'${reference}' is not a reference to a model version. Use NAME@ALIAS, NAME/VERSION or NAME/STAGE, such as credit-default@champion.`,
    );
  }
  // Versions are integers in MLflow. Anything else after a slash is a stage or an alias.
  return mark === '/' && /^\d+$/.test(which) ? { name, version: which } : { name, alias: which };
}

/**
 * Client of the parts of MLflow's REST API 2.0 that an import needs. Every call throws `MLFLOW_UNREACHABLE`
 * (retriable: no response or a server error), `MLFLOW_REFUSED` (with the server's message) or
 * `MLFLOW_ANSWER_INVALID`.
 */
export class MlflowClient {
  readonly #base: URL;
  readonly #headers: Record<string, string>;
  readonly #timeoutMs: number;

  /** @throws MillraceError `MLFLOW_REFERENCE_INVALID` if the URI is not an HTTP URL. */
  constructor({ trackingUri, token, username, password, timeoutMs = 30_000 }: MlflowClientOptions) {
    const base = URL.canParse(trackingUri) ? new URL(trackingUri) : undefined;
    if (base === undefined || !/^https?:$/.test(base.protocol)) {
      throw new MillraceError(
        'MLFLOW_REFERENCE_INVALID',
        'The tracking URI must be the address of an MLflow server, such as http://localhost:5000.',
      );
    }
    const user = username ?? decodeURIComponent(base.username);
    const secret = password ?? decodeURIComponent(base.password);
    this.#headers =
      token !== undefined
        ? { authorization: `Bearer ${token}` }
        : user !== ''
          ? { authorization: `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}` }
          : {};
    Object.assign(base, { username: '', password: '', search: '', hash: '' });
    base.pathname = base.pathname.replace(/\/*$/, '/');
    this.#base = base;
    this.#timeoutMs = timeoutMs;
  }

  /** Address of the server, without credentials. */
  get server(): string {
    return this.#base.href.replace(/\/$/, '');
  }

  async findVersion(reference: ModelReference): Promise<MlflowVersion> {
    const { name } = reference;
    if ('version' in reference) {
      const { version } = reference;
      return (await this.#ask('model-versions/get', { name, version }, versionSchema)).model_version;
    }
    const { alias } = reference;
    try {
      return (await this.#ask('registered-models/alias', { name, alias }, versionSchema)).model_version;
    } catch (error) {
      // Servers before 2.3 have no aliases. Newer ones still have stages.
      const stage = stages.find((each) => each.toLowerCase() === alias.toLowerCase());
      if (stage === undefined || !(error instanceof MillraceError) || error.code !== 'MLFLOW_REFUSED')
        throw error;
      return this.#latestIn(name, stage);
    }
  }

  /**
   * Returns the newest version of a stage, or of all, as MLflow's `models:/name/Production` and
   * `models:/name/latest`.
   */
  async #latestIn(name: string, stage: string): Promise<MlflowVersion> {
    const query: Record<string, string> = stage === 'latest' ? { name } : { name, stages: stage };
    const { model_versions: versions } = await this.#ask(
      'registered-models/get-latest-versions',
      query,
      versionsSchema,
    );
    const [newest] = versions.toSorted((a, b) => Number(b.version) - Number(a.version));
    if (newest !== undefined) return newest;
    throw new MillraceError(
      'MLFLOW_REFUSED',
      `${this.server} has no version of ${name} in the stage ${stage}, and no alias with that name. Use a version, such as ${name}/1.`,
    );
  }

  async findRun(runId: string): Promise<MlflowRun> {
    return (await this.#ask('runs/get', { run_id: runId }, runSchema)).run.data;
  }

  /**
   * Lists the artifacts of a version. @throws MillraceError `MLFLOW_MODEL_UNFIT` if the server does not serve
   * artifacts.
   */
  async openArtifacts({ name, version }: MlflowVersion): Promise<Artifacts> {
    const { artifact_uri: uri } = await this.#ask(
      'model-versions/get-download-uri',
      { name, version },
      uriSchema,
    );
    const [, host, path] = /^mlflow-artifacts:(?:\/\/([^/]*))?\/(.*)$/.exec(uri) ?? [];
    if (path === undefined || (host !== undefined && host !== '' && host !== this.#base.host)) {
      throw new MillraceError(
        'MLFLOW_MODEL_UNFIT',
        `The artifacts of ${name} version ${version} are at ${uri}, which ${this.server} does not serve. Start that server with --serve-artifacts, or fetch them with \`mlflow artifacts download\` and register the folder.`,
      );
    }
    const proxy = 'api/2.0/mlflow-artifacts/artifacts';
    const { files } = await this.#json(`${proxy}?${new URLSearchParams({ path }).toString()}`, filesSchema);
    const plain = files.filter(({ path: file, is_dir: isFolder }) => !isFolder && isPlainName(file));
    return {
      files: new Map(plain.map(({ path: file, file_size: size }) => [file, size])),
      download: (file, maxBytes) =>
        this.#bytes(`${proxy}/${[...path.split('/'), file].map(encodeSegment).join('/')}`, maxBytes),
    };
  }

  #ask<T>(call: string, query: Record<string, string>, schema: z.ZodType<T>): Promise<T> {
    return this.#json(`api/2.0/mlflow/${call}?${new URLSearchParams(query).toString()}`, schema);
  }

  async #json<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    const content = Buffer.from(await this.#bytes(path, 16 * 1024 * 1024)).toString();
    try {
      return schema.parse(JSON.parse(content));
    } catch (error) {
      throw new MillraceError(
        'MLFLOW_ANSWER_INVALID',
        `${this.server} returned an invalid response for ${path}: ${problemOf(error)}. Check that the tracking URI is an MLflow server.`,
        { cause: error },
      );
    }
  }

  /** Returns the whole response body. */
  async #bytes(path: string, maxBytes: number): Promise<Uint8Array> {
    const silence = new AbortController();
    const timer = setTimeout(
      () => silence.abort(new Error(`no data for ${this.#timeoutMs} ms`)),
      this.#timeoutMs,
    );
    try {
      // Redirects are not followed: they would leak the password.
      const response = await fetch(new URL(path, this.#base), {
        headers: this.#headers,
        redirect: 'manual',
        signal: silence.signal,
      });
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const part of response.body ?? []) {
        timer.refresh();
        size += part.length;
        if (size > maxBytes) {
          throw new MillraceError(
            'MLFLOW_MODEL_UNFIT',
            `${path} is larger than ${maxBytes} bytes (MAX_MODEL_BYTES).`,
          );
        }
        parts.push(part);
      }
      if (response.status !== 200) throw this.#refusal(response, path, Buffer.concat(parts).toString());
      return Buffer.concat(parts);
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      throw new MillraceError(
        'MLFLOW_UNREACHABLE',
        `${this.server} did not answer: ${messageOf(error instanceof TypeError ? (error.cause ?? error) : error)}. Check that the server runs and the tracking URI is right.`,
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  #refusal({ status, headers }: Response, path: string, body: string): MillraceError {
    const words = errorSchema.safeParse(parseOrNothing(body)).data?.message;
    const said = words === undefined ? '' : `: ${words.slice(0, 500).replace(/\.$/, '')}`;
    if (status >= 500) {
      return new MillraceError(
        'MLFLOW_UNREACHABLE',
        `${this.server} failed with status ${status}${said}. Try again, or check its log.`,
      );
    }
    const advice =
      status >= 300 && status < 400
        ? ` It redirects to ${headers.get('location') ?? 'another address'}. If that address is right, use it as the tracking URI.`
        : status === 401 || status === 403
          ? ' Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.'
          : '';
    return new MillraceError(
      'MLFLOW_REFUSED',
      `${this.server} refused ${path.split('?')[0]} with status ${status}${said}.${advice}`,
    );
  }
}

/** Returns whether a name is a plain file name. Servers are untrusted: names must not leave the folder. */
function isPlainName(name: string): boolean {
  return /^[\w][\w .+-]*$/.test(name);
}

function encodeSegment(segment: string): string {
  if (segment === '.' || segment === '..') {
    throw new MillraceError(
      'MLFLOW_ANSWER_INVALID',
      `The server returned an artifact path with '${segment}'.`,
    );
  }
  return encodeURIComponent(segment);
}

function problemOf(error: unknown): string {
  if (!(error instanceof z.ZodError)) return messageOf(error);
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}

/** @returns undefined if the text is not JSON. */
export function parseOrNothing(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
