import type { Feature } from '../../models/input-encoder.js';

export type { Feature };

/**
 * Turns events of one kind into predictions. A pipeline consists of this, the contract in `schemas/<name>/`
 * and the model in `models/<name>/`.
 */
export interface Pipeline<Event = object> {
  /** Names the contract's folder, the model, the topics and the route. */
  name: string;
  /** Names of its models, which all have the same features. Default: one, with the pipeline's name. */
  models?: readonly string[];
  /** Selects the model for an event. Pure. Default: the first. */
  model?(this: void, event: Event): string;
  /**
   * Returns the model's inputs, in the order of its `model.json`. Pure: the same event always gives the same
   * features. Called only with events that fit the contract; an error makes that event a dead letter.
   * Default: the event fields of {@link Pipeline.inputs}.
   */
  features?(this: void, event: Event): Feature[];
  /**
   * Model input → path of the event field that feeds it, such as `customer.age` or `readings.0`. Default for
   * each input: the event field of its name. Not used with {@link Pipeline.features}.
   */
  inputs?: Readonly<Record<string, string>>;
  /**
   * Returns the event's subject (a client, a vehicle): events with one key keep their order. Default, also
   * for undefined: the event's id.
   */
  key?(this: void, event: Event): string | undefined;
  /**
   * Returns a realistic event, for the demo, for load tests, and for the check that features fit a model:
   * before registration, and while it serves. Without it there is no such check.
   *
   * @param random - gives numbers from 0 up to 1; the same numbers give the same event.
   * @param now - for events that should look recent, milliseconds since 1970. Default: now.
   */
  sample?(this: void, random: () => number, now?: number): Event;
}

/** Returns the key of an event's record: the event's subject, else its id. */
export function recordKey(pipeline: Pipeline, fields: object, eventId: string): string {
  return pipeline.key?.(fields) ?? eventId;
}

/**
 * Types a pipeline by its own event, so that it can be used as any pipeline. It checks nothing at run time.
 */
export function definePipeline<Event extends object>(pipeline: Pipeline<Event>): Pipeline {
  return pipeline;
}
