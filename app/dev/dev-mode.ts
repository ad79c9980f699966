import { register } from 'node:module';
import { takeOver } from '../../models/registration/take-over.js';
import type { ModelRegistrar } from '../../models/registration/registrar.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { tryPipeline } from '../../processors/pipelines/load-pipelines.js';
import { registeredModels } from '../../processors/pipelines/open-pipelines.js';
import type { Context, Role } from '../context.js';
import { type PartState, type ProjectState, readProject } from './project-files.js';
import { ProjectWatch } from './watch-project.js';

let hooked = false;

/**
 * `up --dev`: takes changes of the project's files into use while the system runs. A change that does not
 * work leaves its pipeline or model as it is, and is shown in readiness (part `dev`) and in the log.
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
  const known = await dev.takeAtStart(await readProject(project, lifecycle.models));
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
  /** Models whose versions are watched: one that changes was touched. */
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

  /**
   * Takes versions whose folders have changed while nothing watched them.
   *
   * @param found - the parts of the project.
   * @returns those from which changes count: without the parts that could not be tried, which are to be
   *   passed again.
   */
  async takeAtStart(found: ProjectState): Promise<ProjectState> {
    const again = new Set<string>();
    for (const [name, state] of found)
      if (state.part.kind !== 'pipeline') await this.#takeInOrder(name, state, again);
    return new Map([...found].filter(([name]) => !again.has(name)));
  }

  /**
   * Takes changes: pipelines first, since a version is checked with their events, then versions. Then
   * pipelines whose changes did not fit the versions before.
   *
   * @returns names of parts that could not be tried, because an engine is unavailable.
   */
  async take(changed: ReadonlyMap<string, PartState | undefined>): Promise<string[]> {
    const again = new Set<string>();
    const take = (name: string, state: PartState | undefined): Promise<void> =>
      this.#takeInOrder(name, state, again);
    const isPipeline = (name: string): boolean => name.startsWith('processors/');
    for (const [name, state] of changed) if (isPipeline(name)) await take(name, state);
    for (const [name, state] of changed) if (!isPipeline(name)) await take(name, state);
    const failed = new Map(this.#failed);
    for (const [name, state] of failed)
      if (isPipeline(name) && (!changed.has(name) || changed.size > 1)) await take(name, state);
    return [...again];
  }

  /** Adds the name to `again` if the change could not be tried: also that of a model with such a version. */
  async #takeInOrder(name: string, state: PartState | undefined, again: Set<string>): Promise<void> {
    const waits = state?.part.kind === 'model' && [...again].some((other) => other.startsWith(`${name}/`));
    if (waits || !(await this.#attempt(name, state))) again.add(name);
  }

  #forget(name: string): void {
    this.problems.delete(name);
    this.#failed.delete(name);
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
      const [folder, ...rest] = name.split('/');
      if (folder === 'models') this.#models.delete(rest.join('/'));
      if (folder !== 'processors') return undefined;
      await opened.remove(rest.at(-1) ?? '');
      return 'the pipeline is closed';
    }
    const { part } = state;
    if (part.kind === 'model') {
      this.#models.add(part.model);
      return undefined;
    }
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
