import type { ProcessLimits } from './limited-process.js';
import { smokeTestAll } from './smoke-test.js';

/**
 * How long a version waits for others to test, milliseconds: the models of all pipelines are opened at once.
 */
const waitMs = 20;

/** Tests new versions of a project. A test process takes most of a second, so it tests all that wait. */
export class VersionTrials {
  readonly #limits: ProcessLimits;
  #waiting: { folder: string; done: (problem: Promise<unknown>) => void }[] = [];
  #running: Promise<void> = Promise.resolve();

  constructor(limits: ProcessLimits = {}) {
    this.#limits = limits;
  }

  /** Checks that a version can be loaded. @throws as `smokeTest`. */
  async check(folder: string): Promise<void> {
    const problem = await new Promise((resolve) => {
      this.#waiting.push({ folder, done: resolve });
      if (this.#waiting.length > 1) return;
      setTimeout(() => {
        this.#running = this.#running.then(() => this.#run());
      }, waitMs);
    });
    if (problem !== undefined) throw problem;
  }

  async #run(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    const testing = smokeTestAll(
      batch.map(({ folder }) => folder),
      this.#limits,
    );
    batch.forEach(({ done }, index) => done(testing.then((problems) => problems[index])));
    await testing.catch(() => undefined);
  }
}
