import { register } from 'node:module';
import { takeOver } from '../../models/registration/take-over.js';
import type { ModelRegistrar } from '../../models/registration/registrar.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { tryPipeline } from '../../processors/pipelines/load-pipelines.js';
import { registeredModels } from '../../processors/pipelines/open-pipelines.js';
import type { Context, Role } from '../context.js';
import { type PartState, readProject } from './project-files.js';
import { ProjectWatch } from './watch-project.js';

let hooked = false;

/**
 * `up --dev`: takes changes of the project's files into use while the system runs. A change that does not work leaves
 * its pipeline or model as it is, and is shown in readiness (part `dev`) and in the log.
 */
export async function startDev(context: Context, registrar: ModelRegistrar): Promise<Role> {
  const { config, lifecycle, health, logger } = context;
  const project = config.MILLRACE_PROJECT;
  if (!hooked) register('./fresh-imports.js', import.meta.url);
  hooked = true;
  const dev = new DevMode(context, registrar);
  health.add('dev', () =>
    dev.problems.size === 0
      ? { status: 'up' }
      : {
          status: 'degraded',
          detail: Array.from(dev.problems, ([name, problem]) => `${name}: ${problem}`).join('; '),
        },
  );
  const known = await readProject(project, lifecycle.models);
  await dev.takeAtStart(known);
  const watch = new ProjectWatch(
    { project, models: () => lifecycle.models, onChange: (changed) => dev.take(changed), logger },
    known,
  );
  return { stop: () => watch.stop() };
}

class DevMode {
  /** Why changes are not in use, by the name of the part. */
  readonly problems = new Map<string, string>();
  readonly #context: Context;
  readonly #registrar: ModelRegistrar;
  /** The part of each problem. */
  readonly #failed = new Map<string, PartState | undefined>();
  /** Digest of each version folder. */
  readonly #digests = new Map<string, string>();
  /** Models whose versions have been looked at. */
  readonly #models = new Set<string>();
  #loads = 0;

  constructor(context: Context, registrar: ModelRegistrar) {
    this.#context = context;
    this.#registrar = registrar;
    // A form that did not fit its model serves once a version that it fits is loaded.
    context.pipelines.onChange((name) => {
      if (context.pipelines.has(name)) this.#forget(`processors/pipelines/${name}`);
    });
  }

  /** Takes versions whose folders have changed while nothing watched them. */
  async takeAtStart(known: ReadonlyMap<string, PartState>): Promise<void> {
    for (const [name, state] of known) if (state.part.kind === 'version') await this.#attempt(name, state);
    this.#noteModels();
  }

  /**
   * Takes changes: pipelines first, since a version is checked with their events, then versions. Then pipelines whose
   * changes did not fit the versions before.
   *
   * @returns names of parts that could not be tried, because an engine is unavailable.
   */
  async take(changed: ReadonlyMap<string, PartState | undefined>): Promise<string[]> {
    const again: string[] = [];
    const take = async (name: string, state: PartState | undefined): Promise<void> => {
      if (!(await this.#attempt(name, state))) again.push(name);
    };
    const isPipeline = (name: string): boolean => name.startsWith('processors/');
    for (const [name, state] of changed) if (isPipeline(name)) await take(name, state);
    for (const [name, state] of changed) if (!isPipeline(name)) await take(name, state);
    const failed = new Map(this.#failed);
    for (const [name, state] of failed)
      if (isPipeline(name) && (!changed.has(name) || changed.size > 1)) await take(name, state);
    this.#noteModels();
    return again;
  }

  #forget(name: string): void {
    this.problems.delete(name);
    this.#failed.delete(name);
  }

  #noteModels(): void {
    for (const model of this.#context.lifecycle.models) this.#models.add(model);
  }

  /** @returns whether the change was tried. */
  async #attempt(name: string, state: PartState | undefined): Promise<boolean> {
    const { logger } = this.#context;
    try {
      const done = await this.#takePart(name, state);
      this.#forget(name);
      if (done !== undefined) logger.info({ part: name }, done);
      return true;
    } catch (error) {
      if (error instanceof MillraceError && error.retriable) {
        logger.warn({ err: error, part: name }, 'a change cannot be taken now; trying again');
        return false;
      }
      logger.error(
        { err: error, part: name },
        'a change is not taken into use: what was there before goes on',
      );
      this.problems.set(name, messageOf(error));
      this.#failed.set(name, state);
      return true;
    }
  }

  /** @returns what was done, if anything. */
  async #takePart(name: string, state: PartState | undefined): Promise<string | undefined> {
    const { config, lifecycle, opened } = this.#context;
    if (state === undefined) {
      if (!name.startsWith('processors/')) return undefined;
      await opened.remove(name.split('/').at(-1) ?? '');
      return 'the pipeline is closed';
    }
    const { part } = state;
    if (part.kind === 'version') {
      const registrar = this.#registrar;
      const root = registeredModels(config);
      const options = { before: this.#digests.get(name), isStart: !this.#models.has(part.model) };
      const { digest, version } = await takeOver(part, { lifecycle, registrar, root }, options);
      this.#digests.set(name, digest);
      return version === undefined ? undefined : `version ${version} has taken over`;
    }
    const token = `${Date.now()}-${this.#loads++}`;
    const loaded = await tryPipeline(config.MILLRACE_PROJECT, part.name, token);
    const problem = await opened.load(loaded);
    if (problem !== undefined) throw problem;
    return 'the pipeline is loaded';
  }
}
