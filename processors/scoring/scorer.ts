import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import type { ServedModels } from '../../models/lifecycle/served-models.js';
import type { ModelManifest } from '../../models/manifest.js';
import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import { eventCheck, eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { ChallengerFailures } from './challenger-failures.js';
import type { Pipeline } from '../pipelines/pipeline.js';
import { noOutput, type Score, scoreWith } from './score-with.js';
import {
  answering,
  type KeyedEvent,
  modelFor,
  modelsOf,
  shadowing,
  type Turn,
  Turns,
} from './model-router.js';

export interface ScorerOptions {
  pipeline: Pipeline;
  contract: RecordSchema;
  served: Pick<ServedModels, 'get'>;
  metrics: Metrics;
  logger: Logger;
  /** Longest wait for a shadow's scores, milliseconds. Default 2,000. */
  shadowPatienceMs?: number;
}

/**
 * Scores events of one pipeline, each with the version whose turn it is: the champion of the event's model, or for a
 * share of the keys its challenger.
 */
export class Scorer {
  readonly pipeline: Pipeline;
  readonly schema: z.ZodObject;
  readonly #fits: (event: unknown) => boolean;
  readonly #served: Pick<ServedModels, 'get'>;
  readonly #failures: ChallengerFailures;
  readonly #shadowPatienceMs: number;
  /** Models whose shadow is still at scores that were given up: others would only queue up behind them. */
  readonly #lateShadows = new Set<string>();

  constructor({ pipeline, contract, served, metrics, logger, shadowPatienceMs = 2_000 }: ScorerOptions) {
    this.pipeline = pipeline;
    this.schema = eventSchema(contract);
    this.#fits = eventCheck(contract);
    this.#served = served;
    this.#failures = new ChallengerFailures(metrics, logger);
    this.#shadowPatienceMs = shadowPatienceMs;
  }

  /** The version that answers for each model of the pipeline now. */
  champions(): ModelManifest[] {
    return modelsOf(this.pipeline).map((model) => this.#served.get(model).champion.version.manifest);
  }

  /** The event as its contract has it, defaults filled in, or what is wrong with it. */
  validate(event: unknown): object | InvalidEvent {
    if (this.#fits(event)) return event as object;
    const result = this.schema.safeParse(event);
    return result.success ? result.data : new InvalidEvent(fieldErrors(result.error));
  }

  /**
   * The answers to events that {@link validate} has passed, in their order. An event that can't be scored gets the reason
   * and does not trouble the others: `FEATURES_INVALID`, `MODEL_FAILED` or `OUTPUT_INVALID`. Where a challenger fails as
   * canary, the champion answers.
   *
   * @throws MillraceError with `retriable` when a champion can't run at the moment; no event is at fault then.
   */
  async score(events: readonly KeyedEvent[]): Promise<(Score | MillraceError)[]> {
    const answers = Array.from<Score | MillraceError>({ length: events.length });
    const turns = new Turns();
    events.forEach((event, index) => {
      const model = modelFor(this.pipeline, event.fields);
      if (model instanceof MillraceError) {
        answers[index] = model;
      } else {
        const { alias, role } = answering(model, event.key, this.#served.get(model));
        turns.add(model, alias, role, event.fields, index);
      }
    });
    // All versions get their rows before anything is waited for: one taken out of service after that still answers.
    await Promise.all(turns.all().map((turn) => this.#answer(turn, answers)));
    return answers;
  }

  /**
   * What challengers in shadow say of events, in their order; undefined (or nothing at all) where none is to, and where one
   * fails or takes too long: a shadow never harms an event.
   */
  async shadow(events: readonly KeyedEvent[]): Promise<(Score | undefined)[]> {
    if (!modelsOf(this.pipeline).some((model) => this.#served.get(model).challenger?.shadow)) return [];
    const scores = Array.from<Score | undefined>({ length: events.length });
    const turns = new Turns();
    events.forEach((event, index) => {
      const model = modelFor(this.pipeline, event.fields);
      if (model instanceof MillraceError) return;
      const alias = shadowing(model, event.key, this.#served.get(model));
      if (alias !== undefined) turns.add(model, alias, 'shadow', event.fields, index);
    });
    await Promise.all(turns.all().map((turn) => this.#cast(turn, scores)));
    return scores;
  }

  async #answer(turn: Turn, answers: (Score | MillraceError)[]): Promise<void> {
    const scores = await this.#scoreTurn(turn);
    turn.entries.forEach(({ index }, nth) => (answers[index] = scores[nth] ?? noOutput()));
    if (turn.role !== 'canary') return;
    const failed = turn.entries.filter((_, nth) => scores[nth] instanceof MillraceError);
    if (failed.length === 0) return;
    this.#failures.note(
      turn,
      failed.length,
      scores.find((score) => score instanceof MillraceError),
    );
    const { champion } = this.#served.get(turn.model);
    await this.#answer({ ...turn, alias: champion, role: 'champion', entries: failed }, answers);
  }

  /** A challenger that can't run at all has failed on each event. */
  async #scoreTurn({ alias, role, entries }: Turn): Promise<(Score | MillraceError)[]> {
    try {
      return await scoreWith(alias, role, this.pipeline, entries);
    } catch (error) {
      if (role !== 'canary' || !(error instanceof MillraceError)) throw error;
      return entries.map(() => error);
    }
  }

  async #cast(turn: Turn, scores: (Score | undefined)[]): Promise<void> {
    const { alias, role, entries } = turn;
    if (this.#lateShadows.has(turn.model)) return this.#failures.note(turn, entries.length, lateShadow());
    const scoring = scoreWith(alias, role, this.pipeline, entries);
    try {
      const results = await this.#inTime(turn.model, scoring);
      const failed = results.filter((result) => result instanceof MillraceError);
      if (failed.length > 0) this.#failures.note(turn, failed.length, failed[0]);
      entries.forEach(({ index }, nth) => {
        const result = results[nth];
        if (!(result instanceof MillraceError)) scores[index] = result;
      });
    } catch (error) {
      this.#failures.note(turn, entries.length, error);
    }
  }

  async #inTime<T>(model: string, scoring: Promise<T>): Promise<T> {
    const over = new AbortController();
    const late = sleep(this.#shadowPatienceMs, undefined, { signal: over.signal }).then(() => {
      this.#lateShadows.add(model);
      const settle = (): void => void this.#lateShadows.delete(model);
      scoring.then(settle, settle);
      throw lateShadow();
    });
    try {
      return await Promise.race([scoring, late]);
    } finally {
      over.abort();
    }
  }
}

function lateShadow(): MillraceError {
  return new MillraceError('SHADOW_LATE', 'The shadow takes too long: events do not wait for it.');
}
