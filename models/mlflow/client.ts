import { z } from 'zod';
import { MillraceError, messageOf } from '../../platform/errors.js';

/**
 * A model version as its users name it: `name@alias`, `name/version`, or with a stage of older servers (`Staging`,
 * `Production`, `Archived`, or `latest`) in either place.
 */
export type ModelReference = { name: string } & ({ alias: string } | { version: string });

export interface MlflowClientOptions {
  /** `http(s)://host[:port][/path]` of the tracking server; a user and password in it are used. */
  trackingUri: string;
  /** As MLflow's own clients read them from `MLFLOW_TRACKING_TOKEN`, `…_USERNAME` and `…_PASSWORD`. A token goes before a password. */
  token?: string | undefined;
  username?: string | undefined;
  password?: string | undefined;
  /** How long the server may stay silent, milliseconds. Default 30,000. */
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

/** What a version of an older registry can be in; `latest` stands for all of them. */
const stages = ['None', 'Staging', 'Production', 'Archived', 'latest'];

const uriSchema = z.object({ artifact_uri: z.string() });
const errorSchema = z.object({ error_code: z.string().default(''), message: z.string() });

/** A version in an MLflow registry. */
export type MlflowVersion = z.infer<typeof versionSchema>['model_version'];

/** What was recorded when a model was trained. */
export type MlflowRun = z.infer<typeof runSchema>['run']['data'];

/** The files at the top of a version's artifacts. */
export interface Artifacts {
  /** Sizes by name, as far as the server tells them. */
  files: ReadonlyMap<string, number | undefined>;
  /**
   * @param name - one of `files`.
   * @throws MillraceError `MLFLOW_MODEL_UNFIT` when it has more than `maxBytes`, and what every call throws.
   */
  download(name: string, maxBytes: number): Promise<Uint8Array>;
}

/** @throws MillraceError `MLFLOW_REFERENCE_INVALID` */
export function parseReference(reference: string): ModelReference {
  const [, name, mark, which] = /^(?:models:\/)?([^/:@]+)([@/])([^/@]+)$/.exec(reference) ?? [];
  if (name === undefined || which === undefined) {
    throw new MillraceError(
      'MLFLOW_REFERENCE_INVALID',
      `'${reference}' names no version of a model. Write NAME@ALIAS, NAME/VERSION or NAME/STAGE, as in credit-default@champion.`,
    );
  }
  // Versions are whole numbers in MLflow; what else stands behind a slash is a stage or an alias.
  return mark === '/' && /^\d+$/.test(which) ? { name, version: which } : { name, alias: which };
}

/**
 * The part of MLflow's REST API 2.0 that an import needs. Every call throws `MLFLOW_UNREACHABLE` (retriable: no answer,
 * or the server failed), `MLFLOW_REFUSED` (the server said no; its own words follow) or `MLFLOW_ANSWER_INVALID`.
 */
export class MlflowClient {
  readonly #base: URL;
  readonly #headers: Record<string, string>;
  readonly #timeoutMs: number;

  /** @throws MillraceError `MLFLOW_REFERENCE_INVALID` for a URI that is no HTTP address. */
  constructor({ trackingUri, token, username, password, timeoutMs = 30_000 }: MlflowClientOptions) {
    const base = URL.canParse(trackingUri) ? new URL(trackingUri) : undefined;
    if (base === undefined || !/^https?:$/.test(base.protocol)) {
      throw new MillraceError(
        'MLFLOW_REFERENCE_INVALID',
        'The tracking URI has to be the address of an MLflow server, as in http://localhost:5000.',
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

  /** Address of the server, without what is secret. */
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
      // Servers before 2.3 know no aliases, and newer ones have stages still.
      const stage = stages.find((each) => each.toLowerCase() === alias.toLowerCase());
      if (stage === undefined || !(error instanceof MillraceError) || error.code !== 'MLFLOW_REFUSED')
        throw error;
      return this.#latestIn(name, stage);
    }
  }

  /** As MLflow's own `models:/name/Production` and `models:/name/latest`: the newest version of a stage, or of all. */
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
      `${this.server} has no version of ${name} in the stage ${stage}, and no alias of that name. Name a version, as in ${name}/1.`,
    );
  }

  async findRun(runId: string): Promise<MlflowRun> {
    return (await this.#ask('runs/get', { run_id: runId }, runSchema)).run.data;
  }

  /** @throws MillraceError `MLFLOW_MODEL_UNFIT` when the server does not hand the artifacts out itself. */
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
        `The artifacts of ${name} version ${version} are at ${uri}, which ${this.server} does not hand out. Start that server with --serve-artifacts, or fetch them with \`mlflow artifacts download\` and register the folder.`,
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
        `${this.server} does not answer as an MLflow server would (to ${path}): ${problemOf(error)}. Check the tracking URI.`,
        { cause: error },
      );
    }
  }

  /** The whole answer, in memory. */
  async #bytes(path: string, maxBytes: number): Promise<Uint8Array> {
    const silence = new AbortController();
    const timer = setTimeout(
      () => silence.abort(new Error(`nothing came for ${this.#timeoutMs} ms`)),
      this.#timeoutMs,
    );
    try {
      // Redirects are not followed: the password would go along to wherever they point.
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
            `${path} has more than the ${maxBytes} bytes that are taken (MAX_MODEL_BYTES).`,
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
        `${this.server} failed with status ${status}${said}. Try again, or look into its log.`,
      );
    }
    const advice =
      status >= 300 && status < 400
        ? ` It points to ${headers.get('location') ?? 'elsewhere'}: give that address as the tracking URI if it is right.`
        : status === 401 || status === 403
          ? ' Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.'
          : '';
    return new MillraceError(
      'MLFLOW_REFUSED',
      `${this.server} refused ${path.split('?')[0]} with status ${status}${said}.${advice}`,
    );
  }
}

/** Whether a name stands for a file in the folder itself. Servers name the files; what they name must not lead elsewhere. */
function isPlainName(name: string): boolean {
  return /^[\w][\w .+-]*$/.test(name);
}

function encodeSegment(segment: string): string {
  if (segment === '.' || segment === '..') {
    throw new MillraceError(
      'MLFLOW_ANSWER_INVALID',
      `The server names artifacts with '${segment}' in their path.`,
    );
  }
  return encodeURIComponent(segment);
}

function problemOf(error: unknown): string {
  if (!(error instanceof z.ZodError)) return messageOf(error);
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}

/** @returns undefined when it is no JSON. */
export function parseOrNothing(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
