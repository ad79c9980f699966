import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import type { ServedModels } from '../../models/lifecycle/served-models.js';
import type { ServedVersion } from '../../models/lifecycle/served-version.js';
import type { ModelManifest } from '../../models/manifest.js';
import type { ModelOutput } from '../../models/outputs.js';
import type { ModelRow } from '../../models/tensors.js';
import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import { eventCheck } from '../../schemas/event-check.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import type { Pipeline } from '../pipelines/pipeline.js';
import { ChallengerFailures } from './challenger-failures.js';
import { makeRow } from './features.js';
import { type KeyedEvent, type ModelAssignment, ModelRouter, modelsOf, type Role } from './model-router.js';

/** The version that scored, and its role. */
export interface ScoredBy {
  manifest: ModelManifest;
  /** Of the version, as registered. */
  digest: string;
  role: Role;
  /** Offset of the alias event on `millrace.models`; -1 if unknown. */
  event: number;
  /** When that event was made, milliseconds since 1970, UTC. */
  at: number | null;
}

/** A model's answer for one event. */
export interface Score extends ModelOutput {
  by: ScoredBy;
}

export interface ScorerOptions {
  pipeline: Pipeline;
  contract: RecordSchema;
  served: Pick<ServedModels, 'get'>;
  metrics: Metrics;
  logger: Logger;
  /** How long events wait for the scores of a shadow, milliseconds. Default 2,000. */
  shadowTimeoutMs?: number;
}

/**
 * Scores events of one pipeline: event → {@link ModelRouter} → features → model → threshold → score.
 */
export class Scorer {
  readonly pipeline: Pipeline;
  readonly schema: z.ZodObject;
  readonly #fits: (event: unknown) => boolean;
  readonly #router: ModelRouter;
  readonly #failures: ChallengerFailures;
  readonly #shadowTimeoutMs: number;
  /**
   * Models whose shadow still computes scores that were given up: further ones would only queue up behind
   * them.
   */
  readonly #lateShadows = new Set<string>();

  constructor({ pipeline, contract, served, metrics, logger, shadowTimeoutMs = 2_000 }: ScorerOptions) {
    this.pipeline = pipeline;
    this.schema = eventSchema(contract);
    this.#fits = eventCheck(contract);
    this.#router = new ModelRouter(pipeline, served);
    this.#failures = new ChallengerFailures(metrics, logger);
    this.#shadowTimeoutMs = shadowTimeoutMs;
  }

  /** Returns the version that currently answers for each model of the pipeline. */
  champions(): ModelManifest[] {
    return this.championVersions().map(({ manifest }) => manifest);
  }

  /** As {@link champions}, loaded. */
  championVersions(): ServedVersion[] {
    return modelsOf(this.pipeline).map((model) => this.#router.champion(model).version);
  }

  /** Returns the event in its contract's form, with defaults, or its errors. */
  validate(event: unknown): object | InvalidEvent {
    if (this.#fits(event)) return event as object;
    const result = this.schema.safeParse(event);
    return result.success ? result.data : new InvalidEvent(fieldErrors(result.error));
  }

  /**
   * Returns the answers to events that passed {@link validate}, in their order. An event that can't be scored
   * gets an error and does not affect the others: `FEATURES_INVALID`, `MODEL_FAILED` or `OUTPUT_INVALID`. If
   * a challenger fails as canary, the champion answers.
   *
   * @throws MillraceError with `retriable` when a champion is unavailable; no event is at fault then.
   */
  async score(events: readonly KeyedEvent[]): Promise<(Score | MillraceError)[]> {
    const answers = Array.from<Score | MillraceError>({ length: events.length });
    const assignments = this.#router.route(events, (index, reason) => (answers[index] = reason));
    // All versions get their rows before the first await: one that is retired later still answers.
    await Promise.all(assignments.map((assignment) => this.#answer(assignment, answers)));
    return answers;
  }

  /**
   * Returns the scores of challengers in shadow, in the events' order; undefined (or nothing at all) without
   * one, and if one fails or takes too long: a shadow never affects an event.
   */
  async shadow(events: readonly KeyedEvent[]): Promise<(Score | undefined)[]> {
    const assignments = this.#router.shadows(events);
    if (assignments.length === 0) return [];
    const scores = Array.from<Score | undefined>({ length: events.length });
    await Promise.all(assignments.map((assignment) => this.#scoreShadow(assignment, scores)));
    return scores;
  }

  async #answer(assignment: ModelAssignment, answers: (Score | MillraceError)[]): Promise<void> {
    const { role, events, model } = assignment;
    const scores = await this.#scoreAnswer(assignment);
    events.forEach(({ index }, nth) => (answers[index] = scores[nth] ?? outputMissing()));
    if (role !== 'canary') return;
    const failed = events.filter((_, nth) => scores[nth] instanceof MillraceError);
    if (failed.length === 0) return;
    const error = scores.find((score) => score instanceof MillraceError);
    this.#noteFailures(assignment, failed.length, error);
    const champion = this.#router.champion(model);
    await this.#answer({ model, alias: champion, role: 'champion', events: failed }, answers);
  }

  /** An unavailable challenger has failed on each event. */
  async #scoreAnswer(assignment: ModelAssignment): Promise<(Score | MillraceError)[]> {
    try {
      return await this.#scoreAssignment(assignment);
    } catch (error) {
      if (assignment.role !== 'canary' || !(error instanceof MillraceError)) throw error;
      return assignment.events.map(() => error);
    }
  }

  async #scoreShadow(assignment: ModelAssignment, scores: (Score | undefined)[]): Promise<void> {
    const { model, events } = assignment;
    if (this.#lateShadows.has(model)) return this.#noteFailures(assignment, events.length, lateShadow());
    const scoring = this.#scoreAssignment(assignment);
    try {
      const results = await this.#inTime(model, scoring);
      const failed = results.filter((result) => result instanceof MillraceError);
      if (failed.length > 0) this.#noteFailures(assignment, failed.length, failed[0]);
      events.forEach(({ index }, nth) => {
        const result = results[nth];
        if (!(result instanceof MillraceError)) scores[index] = result;
      });
    } catch (error) {
      this.#noteFailures(assignment, events.length, error);
    }
  }

  /** Counts a shadow's score that cannot be kept. */
  noteDropped({ by }: Score, reason: MillraceError): void {
    this.#failures.note(by, 1, reason);
  }

  #noteFailures({ alias, role }: ModelAssignment, events: number, error: unknown): void {
    this.#failures.note({ manifest: alias.version.manifest, role }, events, error);
  }

  /**
   * Scores events with one version, in their order: the only path from an event to a score, through features,
   * model and threshold. An event that can't be scored gets an error and does not affect the others.
   *
   * @throws MillraceError with `retriable` when the model is unavailable; no event is at fault then.
   */
  async #scoreAssignment({ alias, role, events }: ModelAssignment): Promise<(Score | MillraceError)[]> {
    const { version, event, at } = alias;
    const { manifest } = version;
    const by: ScoredBy = { manifest, digest: version.digest, role, event, at };
    const features = events.map(({ fields }) => makeRow(this.pipeline, manifest, fields));
    const rows = features.filter((row): row is ModelRow => !(row instanceof MillraceError));
    const outputs = (await version.predict(rows)).values();
    return features.map((row) => {
      if (row instanceof MillraceError) return row;
      const output = outputs.next().value ?? outputMissing();
      if (output instanceof MillraceError) return output;
      const { score, label, outputs: named } = output;
      return { score, label, outputs: named, by };
    });
  }

  async #inTime<T>(model: string, scoring: Promise<T>): Promise<T> {
    const over = new AbortController();
    const late = sleep(this.#shadowTimeoutMs, undefined, { signal: over.signal }).then(() => {
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

/** Returns the error of an event without any output of the model. */
export function outputMissing(): MillraceError {
  return new MillraceError('OUTPUT_INVALID', 'The model gave no output for this event.');
}
