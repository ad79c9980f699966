import type { Type } from 'avsc';
import { LRUCache } from 'lru-cache';
import { idsPerQuery } from '../../analytics/queries.js';
import type { PredictionRow } from '../../analytics/rows.js';
import type { SharedStore } from '../../platform/shared-store.js';
import type { Prediction } from '../../schemas/types.js';
import type { RecordPosition } from '../../streams/records.js';
import { wireHeaderBytes } from '../../streams/serde.js';
import { noOutputs, toPredictionRow } from '../scoring/prediction.js';

/** Finds the stored rows of some events; stops when the signal aborts. */
export type FindStored = (eventIds: readonly string[], signal?: AbortSignal) => Promise<PredictionRow[]>;

/** A prediction in a form that takes little memory, and gives the garbage collector little to do. */
export interface CompactPrediction {
  /** About. */
  bytes: number;
  read: () => PredictionRow;
}

export interface PredictionCacheOptions {
  /** Predictions kept in memory, about 1 KB each. Default 10,000. */
  size?: number;
  /** Maximum bytes of them together, for large ones. Default 64 million. */
  maxBytes?: number;
  /** Time limit of one query, milliseconds. Default 1,000. */
  timeoutMs?: number;
  /** How long the database is not queried after a failure, milliseconds. Default 5,000. */
  cooldownMs?: number;
  /** Where copies of the HTTP API find each other's predictions before those are stored. */
  shared?: SharedStore | undefined;
}

/** Consecutive failures after which the database is not queried: a single query may have been too large. */
const failuresToCooldown = 2;

/**
 * How long copies share a prediction, seconds. It is stored within one or two, and found there permanently.
 */
const sharedForSeconds = 300;

/**
 * A cache of the recent predictions, in front of the stored ones. It gives a repeated event id its first
 * prediction again.
 */
export class PredictionCache {
  readonly #recent: LRUCache<string, CompactPrediction>;
  readonly #findStored: FindStored;
  readonly #timeoutMs: number;
  readonly #cooldownMs: number;
  readonly #shared: SharedStore | undefined;
  /** The database's last failure, and until when it applies. */
  #failure: { error: unknown; until: number } | undefined;
  /** Queries that failed since the last success. */
  #failures = 0;

  constructor(
    findStored: FindStored,
    {
      size = 10_000,
      maxBytes = 64_000_000,
      timeoutMs = 1_000,
      cooldownMs = 5_000,
      shared,
    }: PredictionCacheOptions = {},
  ) {
    this.#recent = new LRUCache({
      max: size,
      maxSize: maxBytes,
      sizeCalculation: ({ bytes }) => bytes,
    });
    this.#findStored = findStored;
    this.#timeoutMs = timeoutMs;
    this.#cooldownMs = cooldownMs;
    this.#shared = shared;
  }

  /**
   * Adds a prediction. Does not wait until other copies know it too.
   *
   * @param kept - of it. Default: the row.
   */
  remember(row: PredictionRow, kept = asItIs(row)): void {
    this.#recent.set(keyOf(row.pipeline, row.event_id), kept);
    if (this.#shared === undefined) return;
    const key = sharedKeyOf(row.pipeline, row.event_id);
    this.#shared.write({ key, value: JSON.stringify(row), ttlSeconds: sharedForSeconds });
  }

  /** Returns the recent prediction of an event, if any. */
  recall(pipeline: string, eventId: string): PredictionRow | undefined {
    return this.#recent.get(keyOf(pipeline, eventId))?.read();
  }

  /** Returns an event's recent predictions of each pipeline, by this copy or one that it shares with. */
  async recallAnywhere(pipelines: readonly string[], eventId: string): Promise<PredictionRow[]> {
    const here = pipelines.flatMap((pipeline) => this.recall(pipeline, eventId) ?? []);
    return here.length > 0 || this.#shared === undefined
      ? here
      : this.#readShared(pipelines.map((pipeline) => sharedKeyOf(pipeline, eventId)));
  }

  /**
   * Returns the first prediction of each event in a pipeline, by event id; events without one are left out.
   *
   * @throws MillraceError with `retriable` when some are not in memory and the database is unavailable. A
   *   hanging database delays one request for a moment and the next ones not at all.
   */
  async find(pipeline: string, eventIds: readonly string[]): Promise<Map<string, PredictionRow>> {
    const found = new Map<string, PredictionRow>();
    for (const id of eventIds) {
      const row = this.recall(pipeline, id);
      if (row !== undefined) found.set(id, row);
    }
    if (found.size < eventIds.length && this.#shared !== undefined) {
      const missing = eventIds.filter((id) => !found.has(id));
      for (const row of await this.#readShared(missing.map((id) => sharedKeyOf(pipeline, id)))) {
        found.set(row.event_id, row);
        this.#recent.set(keyOf(pipeline, row.event_id), asItIs(row));
      }
    }
    const others = eventIds.filter((id) => !found.has(id));
    if (others.length === 0) return found;
    const stored = await this.#ask(others);
    const rows = stored.filter((row) => row.pipeline === pipeline);
    for (const row of rows.toSorted((a, b) => b.predicted_at.localeCompare(a.predicted_at)))
      found.set(row.event_id, row);
    return found;
  }

  async #readShared(keys: readonly string[]): Promise<PredictionRow[]> {
    const rows = (await this.#shared?.read(keys)) ?? [];
    return rows.flatMap((row) => (row === undefined ? [] : [readSharedRow(row)]));
  }

  async #ask(eventIds: readonly string[]): Promise<PredictionRow[]> {
    if (this.#failure !== undefined && performance.now() < this.#failure.until) throw this.#failure.error;
    const rows: PredictionRow[] = [];
    for (let from = 0; from < eventIds.length; from += idsPerQuery)
      rows.push(...(await this.#query(eventIds.slice(from, from + idsPerQuery))));
    return rows;
  }

  async #query(eventIds: readonly string[]): Promise<PredictionRow[]> {
    try {
      const rows = await this.#findStored(eventIds, AbortSignal.timeout(this.#timeoutMs));
      this.#failures = 0;
      return rows;
    } catch (error) {
      if (++this.#failures >= failuresToCooldown)
        this.#failure = { error, until: performance.now() + this.#cooldownMs };
      throw error;
    }
  }
}

/**
 * Keeps the encoding of a prediction, instead of the twenty objects of its row.
 *
 * @param encoded - in wire format. It is copied: it may be a part of a large buffer.
 * @param position - of its event.
 */
export function compact(type: Type, encoded: Buffer, position: RecordPosition): CompactPrediction {
  const text = encoded.toString('latin1', wireHeaderBytes);
  const read = (): PredictionRow => {
    const prediction = type.fromBuffer(Buffer.from(text, 'latin1')) as Prediction;
    return toPredictionRow(Object.assign(prediction, position));
  };
  return { bytes: text.length, read };
}

function asItIs(row: PredictionRow): CompactPrediction {
  return { bytes: 1 + row.features.length + row.outputs.length, read: () => row };
}

/** A copy of an earlier release shares rows without outputs. */
function readSharedRow(text: string): PredictionRow {
  const row = JSON.parse(text) as Omit<PredictionRow, 'outputs'> & { outputs?: string };
  return { ...row, outputs: row.outputs ?? noOutputs };
}

function keyOf(pipeline: string, eventId: string): string {
  return `${pipeline}\n${eventId}`;
}

function sharedKeyOf(pipeline: string, eventId: string): string {
  return `prediction:${pipeline}:${eventId}`;
}
