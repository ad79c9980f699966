import type { z } from 'zod';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { Metrics } from '../platform/metrics.js';
import type { RecordSchema } from '../schemas/contracts.js';
import { eventSchema, fieldErrors, type FieldError } from '../schemas/event-schema.js';
import type { LoadedModel } from '../models/runtime.js';
import { FeatureEncoder } from './feature-encoder.js';
import { MicroBatcher, type RowResult } from './micro-batcher.js';
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
  /** Every model of the pipeline; the first is its default. */
  models: readonly [LoadedModel, ...LoadedModel[]];
  metrics: Metrics;
  /** Most rows of one model call. */
  batchSize: number;
  /** How long a model call may wait for more rows, milliseconds. */
  batchDelayMs: number;
  /** Model calls in flight at once: one more than there are model workers keeps them all busy. */
  maxInFlight: number;
}

/** A model with what stands before it: texts become numbers, and rows gather. */
interface ServingModel {
  model: LoadedModel;
  encoder: FeatureEncoder;
  batcher: MicroBatcher;
}

/**
 * Scores events of one pipeline with its models: the only way from an event to a score, whichever transport it came by.
 */
export class Scorer {
  readonly pipeline: Pipeline;
  readonly models: readonly LoadedModel[];
  readonly schema: z.ZodObject;
  readonly #default: ServingModel;
  readonly #serving: ReadonlyMap<string, ServingModel>;

  constructor(options: ScorerOptions) {
    const { pipeline, contract, models } = options;
    this.pipeline = pipeline;
    this.models = models;
    this.schema = eventSchema(contract);
    this.#default = toServing(models[0], options);
    const others = models.slice(1).map((model) => toServing(model, options));
    this.#serving = new Map(
      [this.#default, ...others].map((serving) => [serving.model.manifest.name, serving]),
    );
  }

  /** The event as its contract has it, defaults filled in, or what is wrong with it. */
  validate(event: unknown): object | InvalidEvent {
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
    const rows = events.map((event) => this.#toRow(event));
    const outputs = new Map<Row, RowResult>();
    const predict = async (serving: ServingModel): Promise<void> => {
      const own = rows.filter((row): row is Row => 'serving' in row && row.serving === serving);
      const results = await serving.batcher.predict(own.map(({ values }) => values));
      for (const [index, result] of results.entries()) {
        const row = own[index];
        if (row !== undefined) outputs.set(row, result);
      }
    };
    await Promise.all(Array.from(this.#serving.values(), predict));
    return rows.map((row) =>
      row instanceof MillraceError ? row : toScore(row.serving.model, outputs.get(row)),
    );
  }

  /** The model that scores an event which {@link validate} has passed. */
  modelOf(event: object): LoadedModel {
    return this.#servingOf(event).model;
  }

  #servingOf(event: object): ServingModel {
    const name = this.pipeline.model?.(event);
    if (name === undefined) return this.#default;
    const serving = this.#serving.get(name);
    if (serving === undefined) throw new Error(`there is no model ${name} among its models`);
    return serving;
  }

  #toRow(event: object): Row | MillraceError {
    try {
      const serving = this.#servingOf(event);
      const values = serving.encoder.encode(this.pipeline.features(event));
      return values instanceof MillraceError ? values : { serving, values };
    } catch (error) {
      const problem = `The features of ${this.pipeline.name} failed: ${messageOf(error)}.`;
      return new MillraceError('FEATURES_INVALID', problem, { cause: error });
    }
  }
}

/** Features of one event as its model takes them. */
interface Row {
  serving: ServingModel;
  values: number[];
}

function toServing(
  model: LoadedModel,
  { pipeline, metrics, batchSize, batchDelayMs, maxInFlight }: ScorerOptions,
): ServingModel {
  const { inputs } = model.manifest;
  const batchRows = metrics.modelBatchRows.labels(pipeline.name);
  const modelSeconds = metrics.modelSeconds.labels(pipeline.name);
  const batcher = new MicroBatcher((rows, count) => model.predict(rows, count), {
    width: inputs.length,
    maxRows: batchSize,
    maxDelayMs: batchDelayMs,
    maxInFlight,
    onBatch: (rows, seconds) => {
      batchRows.observe(rows);
      modelSeconds.observe(seconds);
    },
  });
  return { model, encoder: new FeatureEncoder(inputs), batcher };
}

function toScore(model: LoadedModel, output: RowResult = notOneOutputARow()): Score | MillraceError {
  if (output instanceof MillraceError) return output;
  if (!Number.isFinite(output)) {
    return new MillraceError('OUTPUT_INVALID', `The model's output is ${output}, which is no score.`);
  }
  const { decision } = model.manifest.output;
  if (decision === undefined) return { score: output, label: null };
  return { score: output, label: output >= decision.threshold ? decision.at_or_above : decision.below };
}

function notOneOutputARow(): MillraceError {
  return new MillraceError('OUTPUT_INVALID', 'The model gave fewer outputs than it got rows.');
}
