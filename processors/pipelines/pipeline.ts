import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MillraceError } from '../../platform/errors.js';

/**
 * A value for one input of a model: the number itself, or a text that the model's `encoding` makes one of.
 */
export type Feature = number | string;

/**
 * Turns events of one kind into predictions: with the contract in `schemas/<name>/` and the model in
 * `models/<name>/` this is all there is to a pipeline.
 */
export interface Pipeline<Event = object> {
  /** Names the contract's folder, the model, the topics and the route. */
  name: string;
  /** Names of its models, which all take the same features. Default: one, with the pipeline's name. */
  models?: readonly string[];
  /** Which of the models is for an event. Pure. Default: the first. */
  model?(this: void, event: Event): string;
  /**
   * The model's inputs, in the order of its `model.json`. Pure: the same event gives the same features at any
   * time. Called only with events that fit the contract; what it throws makes that event a dead letter.
   */
  features(this: void, event: Event): Feature[];
  /**
   * What the event is about (a client, a vehicle): events with one key keep their order. Default: the event's
   * id.
   */
  key?(this: void, event: Event): string;
  /**
   * A realistic event, for the demo, for load tests, and for the check that features fit a model: before it
   * is registered, and while it serves. Without it nothing checks that.
   *
   * @param random - gives numbers from 0 up to 1; the same numbers give the same event.
   * @param now - when it is to look recent, milliseconds since 1970. Default: now.
   */
  sample?(this: void, random: () => number, now?: number): Event;
}

/** The key of an event's record: what the event is about, else its id. */
export function recordKey(pipeline: Pipeline, fields: object, eventId: string): string {
  return pipeline.key?.(fields) ?? eventId;
}

/**
 * Checks nothing at run time: it lets a pipeline's file be typed by its own event and used as any pipeline.
 */
export function definePipeline<Event extends object>(pipeline: Pipeline<Event>): Pipeline {
  return pipeline;
}

/**
 * Every pipeline: one folder each in `processors/pipelines/`, whose `pipeline.ts` exports `pipeline`.
 *
 * @throws MillraceError `PIPELINE_INVALID` when a folder holds none, or one named otherwise than its folder.
 */
export async function loadPipelines(root: string = import.meta.dirname): Promise<Pipeline[]> {
  const folders = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return Promise.all(folders.map(({ name }) => loadPipeline(root, name)));
}

async function loadPipeline(root: string, name: string): Promise<Pipeline> {
  const file = join(root, name, 'pipeline.js');
  const module = existsSync(file)
    ? ((await import(pathToFileURL(file).href)) as { pipeline?: Pipeline })
    : {};
  if (module.pipeline?.name !== name) {
    throw new MillraceError(
      'PIPELINE_INVALID',
      `processors/pipelines/${name}/pipeline.ts must export \`pipeline\` with the name '${name}', and has ` +
        `${module.pipeline === undefined ? 'no such export' : `the name '${module.pipeline.name}'`}.`,
    );
  }
  return module.pipeline;
}
