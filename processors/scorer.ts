import type { z } from 'zod';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { Metrics } from '../platform/metrics.js';
import type { RecordSchema } from '../schemas/contracts.js';
import { eventCheck, eventSchema, fieldErrors, type FieldError } from '../schemas/event-schema.js';
import type { LoadedModel } from '../models/runtime.js';
import { MicroBatcher } from './micro-batcher.js';
import type { Pipeline } from './pipeline.js';

/** What a model says of one event. */
export interface Score {
  score: number;
  /** The class that the score falls into; null for models that don't classify. */
  label: string | null;
}

/** An event that does not fit its contract, with every field that is wrong. Code `EVENT_INVALID`. */
export class InvalidEvent extends MillraceError {
  readonly fields: FieldError[];

  constructor(fields: FieldError[]) {
    const named = fields.slice(0, 5).map(({ field, problem }) => `${field || 'the event'} ${problem}`);
    if (fields.length > named.length) named.push(`and ${fields.length - named.length} more`);
    super('EVENT_INVALID', named.join('; '));
    this.name = 'InvalidEvent';
    this.fields = fields;
  }
}

export interface ScorerOptions {
  pipeline: Pipeline;
  contract: RecordSchema;
  model: LoadedModel;
  metrics: Metrics;
  /** Most rows of one model call. */
  batchSize: number;
  /** How long a model call may wait for more rows, milliseconds. */
  batchDelayMs: number;
  /** Model calls in flight at once: one more than there are model workers keeps them all busy. */
  maxInFlight: number;
}

/**
 * Scores events of one pipeline with one model: the only way from an event to a score, whichever transport it came by.
 */
export class Scorer {
  readonly pipeline: Pipeline;
  readonly model: LoadedModel;
  readonly schema: z.ZodObject;
  readonly #fits: (event: unknown) => boolean;
  readonly #batcher: MicroBatcher;

  constructor({ pipeline, contract, model, metrics, batchSize, batchDelayMs, maxInFlight }: ScorerOptions) {
    this.pipeline = pipeline;
    this.model = model;
    this.schema = eventSchema(contract);
    this.#fits = eventCheck(contract);
    const batchRows = metrics.modelBatchRows.labels(pipeline.name);
    const modelSeconds = metrics.modelSeconds.labels(pipeline.name);
    this.#batcher = new MicroBatcher((rows, count) => model.predict(rows, count), {
      width: model.manifest.inputs.length,
      maxRows: batchSize,
      maxDelayMs: batchDelayMs,
      maxInFlight,
      onBatch: (rows, seconds) => {
        batchRows.observe(rows);
        modelSeconds.observe(seconds);
      },
    });
  }

  /** The event as its contract has it, defaults filled in, or what is wrong with it. */
  validate(event: unknown): object | InvalidEvent {
    if (this.#fits(event)) return event as object;
    const result = this.schema.safeParse(event);
    return result.success ? result.data : new InvalidEvent(fieldErrors(result.error));
  }

  /**
   * Scores events that {@link validate} has passed, in their order. An event that can't be scored gets the reason and does
   * not trouble the others: `FEATURES_INVALID`, `MODEL_FAILED` or `OUTPUT_INVALID`.
   *
   * @throws MillraceError with `retriable` when the model can't run at the moment; no event is at fault then.
   */
  async score(events: object[]): Promise<(Score | MillraceError)[]> {
    const features = events.map((event) => this.#features(event));
    const rows = features.filter((row) => Array.isArray(row));
    const outputs = (await this.#batcher.predict(rows)).values();
    return features.map((row) => {
      if (!Array.isArray(row)) return row;
      const output = outputs.next().value;
      return typeof output === 'number' ? this.#toScore(output) : (output ?? notOneOutputARow());
    });
  }

  #features(event: object): number[] | MillraceError {
    const { name, features } = this.pipeline;
    const { inputs } = this.model.manifest;
    let row: number[];
    try {
      row = features(event);
    } catch (error) {
      return new MillraceError('FEATURES_INVALID', `The features of ${name} failed: ${messageOf(error)}.`, {
        cause: error,
      });
    }
    if (row.length !== inputs.length) {
      return new MillraceError(
        'FEATURES_INVALID',
        `${name} made ${row.length} features; its model takes ${inputs.length}.`,
      );
    }
    // A model takes 32-bit floats: what does not fit one would reach it as infinite, and pass through it unnoticed.
    const unfit = row.findIndex(isUnfit);
    if (unfit === -1) return row;
    return new MillraceError(
      'FEATURES_INVALID',
      `Feature ${inputs[unfit]?.name} is ${row[unfit]}: not a finite 32-bit float.`,
    );
  }

  #toScore(score: number): Score | MillraceError {
    if (!Number.isFinite(score)) {
      return new MillraceError('OUTPUT_INVALID', `The model's output is ${score}, which is no score.`);
    }
    const { decision } = this.model.manifest.output;
    if (decision === undefined) return { score, label: null };
    return { score, label: score >= decision.threshold ? decision.at_or_above : decision.below };
  }
}

function isUnfit(value: number): boolean {
  return !Number.isFinite(Math.fround(value));
}

function notOneOutputARow(): MillraceError {
  return new MillraceError('OUTPUT_INVALID', 'The model gave fewer outputs than it got rows.');
}
