import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import type { FoundDeadLetter } from '../../analytics/queries.js';
import type { PredictionRow } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import { mayUse } from '../middleware/authorization.js';
import { answer, pathParameter, problems } from '../openapi/describe.js';
import { toAnswer } from '../pipelines/routes.js';
import { type StoredPrediction, storedPredictionSchema } from './schemas.js';
import type { FindStored } from '../../processors/events/prediction-cache.js';

export interface PredictionRoutesOptions {
  /** Recent predictions, of this process or a copy of it. */
  recall: (eventId: string, pipelines: readonly string[]) => Promise<PredictionRow[]>;
  findStored: FindStored;
  /** Dead letters of an event id. */
  findDeadLetters: (eventId: string) => Promise<FoundDeadLetter[]>;
  /** Returns the names of all pipelines. */
  pipelines: () => readonly string[];
}

/** `/v1/predictions/{eventId}`: the newest prediction of an event, with its full lineage. */
export function predictionRoutes({
  recall,
  findStored,
  findDeadLetters,
  pipelines,
}: PredictionRoutesOptions): Hono {
  const app = new Hono();
  const describe = describeRoute({
    tags: ['predictions'],
    summary: 'The newest prediction of an event, with the place of the event on the log.',
    parameters: [pathParameter('eventId', 'Id of the event.')],
    responses: {
      200: answer('The prediction.', storedPredictionSchema),
      ...problems('PREDICTION_UNKNOWN', 'CLICKHOUSE_UNAVAILABLE', 'REQUEST_TIMEOUT'),
    },
  });
  app.get('/:eventId', describe, async (c) => {
    const eventId = c.req.param('eventId');
    const visible = pipelines().filter((name) => mayUse(c, name));
    const stored = async (): Promise<PredictionRow[]> =>
      (await findStored([eventId])).filter(({ pipeline }) => visible.includes(pipeline));
    const row = newest(await recall(eventId, visible)) ?? newest(await stored());
    if (row === undefined) {
      const letter = (await findDeadLetters(eventId)).find(({ pipeline }) => visible.includes(pipeline));
      if (letter !== undefined)
        throw new MillraceError(
          'PREDICTION_UNKNOWN',
          `The event '${eventId}' has no prediction: it is a dead letter, ${letter.reason}: ${letter.detail}`,
        );
      throw new MillraceError(
        'PREDICTION_UNKNOWN',
        `There is no prediction for the event '${eventId}'. An event that was just accepted has one a moment later.`,
      );
    }
    return c.json(toStored(row));
  });
  return app;
}

function toStored(row: PredictionRow): StoredPrediction {
  const { source, topic, partition, offset, schema_id, latency_ms } = row;
  return {
    ...toAnswer(row),
    features: featuresOf(row),
    source,
    topic,
    partition,
    offset,
    schema_id,
    latency_ms,
  };
}

/** The event's features; the text itself if another producer wrote other content. */
function featuresOf({ features }: PredictionRow): unknown {
  try {
    return JSON.parse(features) as unknown;
  } catch {
    return features;
  }
}

function newest(rows: PredictionRow[]): PredictionRow | undefined {
  return rows.toSorted((a, b) => b.predicted_at.localeCompare(a.predicted_at))[0];
}
