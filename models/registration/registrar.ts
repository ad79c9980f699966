import { rm } from 'node:fs/promises';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import { Mutex } from '../../platform/mutex.js';
import { Semaphore } from '../../platform/semaphore.js';
import { register } from '../lifecycle/commands.js';
import type { ModelLifecycle } from '../lifecycle/lifecycle.js';
import type { ModelState, RegisteredVersion } from '../lifecycle/state.js';
import type { ModelManifest } from '../manifest.js';
import { findVersion, readModel, type ModelArtifact } from '../registry.js';
import { identityOf } from '../version-digest.js';
import type { ModelRow } from '../tensors.js';
import { requireCompatible, requirePlausible } from './compatibility.js';
import { hasContent, makeStagingFolder, installVersion, removeStaleStaging } from './install.js';
import { smokeTest } from './smoke-test.js';

export interface RegistrarOptions {
  lifecycle: ModelLifecycle;
  /** Folder of registered versions: `MODELS_DIR`. */
  root: string;
  /** All folders with versions. */
  roots: readonly string[];
  /**
   * Returns the features of sample events of every pipeline that uses the model, as rows in the order of its
   * inputs.
   *
   * @throws MillraceError `MODEL_REFUSED` if the features of a pipeline do not fit the version.
   */
  sampleRows: (manifest: ModelManifest) => readonly ModelRow[];
  /** See {@link smokeTest}. */
  trialMemoryMb?: number;
  logger: Logger;
}

/** Who registers a version. */
export interface Sender {
  /** Versions of one client are checked one after the other. */
  client: string;
  /** Returns the recorded source of the version. Called after the upload. */
  source: () => string;
  /** Whether inputs and output may differ from the champion's, as in development. Default false. */
  mayDiffer?: boolean;
}

/** Maximum number of concurrent checks, each of another client. A check takes memory and a core. */
const trialsAtOnce = 2;

export interface Registration {
  version: RegisteredVersion;
  /** Whether the version was already registered with the same content. */
  existed: boolean;
  /** Number of sample events that it scored; null if it was not checked again. */
  sampleEvents: number | null;
}

/** Registers uploaded versions. Every process can load a registered version. */
export class ModelRegistrar {
  readonly #options: RegistrarOptions;
  readonly #trials = new Semaphore(trialsAtOnce);
  readonly #clients = new Map<string, Mutex>();

  constructor(options: RegistrarOptions) {
    this.#options = options;
    removeStaleStaging(options.root).catch((error: unknown) =>
      options.logger.warn(`Cannot remove leftover model uploads in ${options.root}: ${messageOf(error)}.`),
    );
  }

  /**
   * Validates and registers a version. Checks its digest, its golden rows, its compatibility with the
   * champion, and sample events of the pipelines that use it. Then moves its folder into place and writes the
   * event to the log. Idempotent.
   *
   * @param fill - writes model.onnx, model.json and golden.json to the given empty folder.
   * @throws MillraceError `MODEL_NOT_FOUND` (no such model), `MODEL_REFUSED` (with the reason),
   * `MODEL_CONFLICT` (the version exists with other content), `MODELS_DIR_UNUSABLE`, and what `fill` and the
   * log throw.
   */
  async register(
    model: string,
    fill: (folder: string) => Promise<void>,
    { client, source, mayDiffer = false }: Sender,
  ): Promise<Registration> {
    const { lifecycle, root } = this.#options;
    // Checked before any write: the name comes from a client.
    lifecycle.get(model);
    const folder = await makeStagingFolder(root);
    try {
      await fill(folder);
      return await this.#inTurnOf(client, () => this.#registerFolder(model, folder, source(), mayDiffer));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Runs one check per client at a time, so that slow graphs of a client delay only that client. */
  async #inTurnOf<T>(client: string, check: () => Promise<T>): Promise<T> {
    const mutex = this.#clients.get(client) ?? new Mutex();
    this.#clients.set(client, mutex);
    try {
      return await mutex.run(() => this.#trials.run(check));
    } finally {
      if (mutex.isIdle) this.#clients.delete(client);
    }
  }

  async #registerFolder(
    model: string,
    folder: string,
    source: string,
    mayDiffer: boolean,
  ): Promise<Registration> {
    const { lifecycle, root, roots } = this.#options;
    const staged = await asRefusal(folder, () => readModel(folder));
    const { manifest } = staged;
    if (manifest.name !== model) {
      throw refused(`its model.json is of model ${manifest.name}, but it was sent as ${model}`);
    }
    const state = lifecycle.get(model);
    // Also validates the version as a folder name, before any path is built from it.
    register(state, identityOf(manifest));
    const known = state.versions.get(manifest.version);
    if (known !== undefined) {
      const there = await findVersion(roots, { ...known, name: model }).catch(() => undefined);
      if (there !== undefined && !(await hasContent(there.folder, staged))) {
        throw new MillraceError(
          'MODEL_CONFLICT',
          `${model} ${known.version} is already registered with another model.json or golden.json. A version cannot change: use a new one.`,
        );
      }
      if (there !== undefined) return { version: known, existed: true, sampleEvents: null };
    }
    const sampleEvents = await this.#check(staged, state, mayDiffer);
    await installVersion(root, staged);
    const after = await lifecycle.register(model, identityOf(manifest), source);
    const version = after.versions.get(manifest.version);
    if (version === undefined) {
      throw new MillraceError(
        'MODEL_NOT_REGISTERED',
        'The version was written to the log but not read back. Try again.',
      );
    }
    return { version, existed: known !== undefined, sampleEvents };
  }

  /** @returns the number of sample events. */
  async #check(staged: ModelArtifact, { model, champion }: ModelState, mayDiffer: boolean): Promise<number> {
    const { roots, sampleRows, trialMemoryMb: memoryMb } = this.#options;
    // A champion that is gone can't be compared, and the version may be meant to replace it.
    const current =
      mayDiffer || champion === undefined
        ? undefined
        : await findVersion(roots, { name: model, ...champion }).catch(() => undefined);
    if (current !== undefined) requireCompatible(staged.manifest, current.manifest);
    const rows = sampleRows(staged.manifest);
    const trial = { folder: staged.folder, rows };
    const outputs = await asRefusal(staged.folder, () => smokeTest(trial, { memoryMb }));
    requirePlausible(outputs, staged.manifest);
    return rows.length;
  }
}

/**
 * Converts errors of uploaded files to one code, and removes the path of the staging folder from the message.
 */
async function asRefusal<Result>(folder: string, attempt: () => Promise<Result>): Promise<Result> {
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof MillraceError) || error.retriable) throw error;
    throw new MillraceError(
      'MODEL_REFUSED',
      error.message.replaceAll(`${folder}/`, '').replaceAll(folder, 'the upload'),
      {
        cause: error,
      },
    );
  }
}

function refused(problem: string): MillraceError {
  return new MillraceError('MODEL_REFUSED', `The version is refused: ${problem}.`);
}
