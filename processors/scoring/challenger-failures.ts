import { messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { ModelManifest } from '../../models/manifest.js';
import type { Role } from './model-router.js';

const silenceMs = 10_000;

/** Counts events that challengers could not score, and logs them at most every ten seconds. */
export class ChallengerFailures {
  readonly #metrics: Metrics;
  readonly #logger: Logger;
  #quietUntil = 0;

  constructor(metrics: Metrics, logger: Logger) {
    this.#metrics = metrics;
    this.#logger = logger;
  }

  /** @param error - of the first of them. */
  note({ manifest, role }: { manifest: ModelManifest; role: Role }, events: number, error: unknown): void {
    const { name, version } = manifest;
    this.#metrics.challengerFailures.inc({ model: name, model_version: version, role }, events);
    if (performance.now() < this.#quietUntil) return;
    this.#quietUntil = performance.now() + silenceMs;
    this.#logger.warn(
      { model: name, version, role, events, error: messageOf(error) },
      'a challenger can’t score events; more of this is only counted for some seconds',
    );
  }
}
