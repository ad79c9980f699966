import { type FSWatcher, watch } from 'node:fs';
import { Condition, pause } from '../../platform/backoff.js';
import type { Logger } from '../../platform/logger.js';
import { contractsFolder, modelsFolder, pipelinesFolder } from '../../processors/pipelines/load-pipelines.js';
import { type PartState, type ProjectState, readProject } from './project-files.js';

/** Programs write several files one after the other: a part is taken once it was the same for this long. */
const settleMs = 250;
/** Not every file system tells changes, and watches of folders that are replaced get lost. */
const lookEveryMs = 1_000;

export interface WatchOptions {
  project: string;
  /** Returns the names of the models in use. */
  models: () => readonly string[];
  /**
   * Called with the parts that have changed since they were passed last, by name; undefined for a removed
   * one.
   *
   * @returns names of parts to pass again later.
   */
  onChange: (changed: ReadonlyMap<string, PartState | undefined>) => Promise<readonly string[]>;
  logger: Logger;
}

/** Watches a project, and passes on what has changed. */
export class ProjectWatch {
  readonly #options: WatchOptions;
  readonly #stopping = new AbortController();
  readonly #hint = new Condition();
  readonly #watchers: FSWatcher[];
  readonly #running: Promise<void>;
  #known: ProjectState;

  /** @param known - the state from which changes count. */
  constructor(options: WatchOptions, known: ProjectState) {
    const { project } = options;
    this.#options = options;
    this.#known = known;
    this.#watchers = [contractsFolder(project), modelsFolder(project), pipelinesFolder(project)].flatMap(
      (folder) => this.#watch(folder),
    );
    this.#running = this.#run();
  }

  /** Waits for a change that is being taken. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const watcher of this.#watchers) watcher.close();
    await this.#running;
  }

  #watch(folder: string): FSWatcher[] {
    try {
      const watcher = watch(folder, { recursive: true }, () => this.#hint.notify());
      watcher.on('error', () => undefined);
      return [watcher];
    } catch {
      return [];
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#hint.wait(lookEveryMs, signal);
      try {
        await this.#look();
      } catch (error) {
        this.#options.logger.warn({ err: error }, 'changes of the project cannot be read; trying again');
      }
    }
  }

  async #look(): Promise<void> {
    const { project, models, onChange } = this.#options;
    const { signal } = this.#stopping;
    const first = await readProject(project, models());
    if (changesOf(this.#known, first).size === 0) return;
    await pause(settleMs, signal);
    if (signal.aborted) return;
    const now = await readProject(project, models());
    const changed = changesOf(this.#known, now);
    const unsettled = changesOf(first, now);
    for (const name of unsettled.keys()) changed.delete(name);
    if (changed.size === 0) return;
    const again = new Set([...unsettled.keys(), ...(await onChange(changed))]);
    const kept = [...this.#known].filter(([name]) => again.has(name));
    const taken = [...now].filter(([name]) => !again.has(name));
    this.#known = new Map([...kept, ...taken]);
  }
}

/** Returns what differs; undefined for what is no longer there. */
function changesOf(before: ProjectState, now: ProjectState): Map<string, PartState | undefined> {
  const changed = new Map<string, PartState | undefined>();
  for (const [name, state] of now) if (before.get(name)?.files !== state.files) changed.set(name, state);
  for (const name of before.keys()) if (!now.has(name)) changed.set(name, undefined);
  return changed;
}
