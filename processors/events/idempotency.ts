import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { MillraceError } from '../../platform/errors.js';
import type { SharedStore } from '../../platform/shared-store.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { isSameEvent } from '../scoring/prediction.js';
import type { PredictionCache } from './prediction-cache.js';

/** How long copies share accepted events, seconds. */
const sharedForSeconds = 3_600;

/** An event under an id that its client chose, or that an Idempotency-Key determined: it may be repeated. */
export interface RepeatableEvent {
  eventId: string;
  fields: object;
  /** Of the fields, see {@link digestOf}. Unset: the id is new, and the event can't be repeated. */
  digest: string | undefined;
}

/**
 * The recently accepted events under repeatable ids. Distinguishes a repeat, which is accepted again under
 * the same id, from a different event, which must not use that id.
 */
export class AcceptedEvents {
  readonly #digests = new LRUCache<string, string>({ max: 50_000 });
  readonly #shared: SharedStore | undefined;
  readonly #cache: PredictionCache | undefined;

  /**
   * @param shared - where copies of the HTTP API share their accepted events.
   * @param cache - the recent predictions.
   */
  constructor(shared: SharedStore | undefined, cache: PredictionCache | undefined) {
    this.#shared = shared;
    this.#cache = cache;
  }

  /**
   * Fetches what other copies accepted under the ids of events, in one round trip; without a shared store
   * nothing.
   */
  async learn(pipeline: OpenPipeline, events: readonly RepeatableEvent[]): Promise<void> {
    if (this.#shared === undefined) return;
    const unknown = events.map((event) => keyOf(pipeline, event)).filter((key) => !this.#digests.has(key));
    if (unknown.length === 0) return;
    const digests = await this.#shared.read(unknown.map(sharedKeyOf));
    for (const [index, key] of unknown.entries()) {
      const digest = digests[index];
      if (digest !== undefined) this.#digests.set(key, digest);
    }
  }

  /**
   * Returns whether a different event has the id of this one, accepted recently or earlier in the same
   * request.
   *
   * @param inThisRequest - digests of the events before it by id; this event is added.
   * @returns `EVENT_ID_CONFLICT` if so.
   */
  conflictOf(
    pipeline: OpenPipeline,
    event: RepeatableEvent,
    inThisRequest: Map<string, string>,
  ): MillraceError | undefined {
    const { eventId, digest, fields } = event;
    if (digest === undefined) return undefined;
    const earlier = inThisRequest.get(eventId) ?? this.#digests.get(keyOf(pipeline, event));
    inThisRequest.set(eventId, earlier ?? digest);
    if (earlier !== undefined && earlier !== digest) return idConflict(eventId);
    const predicted = this.#cache?.recall(pipeline.name, eventId);
    return predicted === undefined || isSameEvent(pipeline.scorer, predicted.features, fields)
      ? undefined
      : idConflict(eventId);
  }

  /** Remembers an event that is on the log. Does not wait until other copies know it too. */
  add(pipeline: OpenPipeline, event: RepeatableEvent): void {
    const { digest } = event;
    if (digest === undefined) return;
    const key = keyOf(pipeline, event);
    this.#digests.set(key, digest);
    this.#shared?.write({ key: sharedKeyOf(key), value: digest, ttlSeconds: sharedForSeconds });
  }
}

/** Returns the same digest for events with the same fields, in their contract's order. */
export function digestOf(fields: object): string {
  return hash('sha1', JSON.stringify(fields), 'base64');
}

export function idConflict(eventId: string): MillraceError {
  return new MillraceError(
    'EVENT_ID_CONFLICT',
    `The id ${eventId} was given to an event with other fields before. Send the same event, or a new id or Idempotency-Key.`,
  );
}

function keyOf(pipeline: OpenPipeline, { eventId }: RepeatableEvent): string {
  return `${pipeline.name}\n${eventId}`;
}

function sharedKeyOf(key: string): string {
  return `accepted:${key}`;
}
