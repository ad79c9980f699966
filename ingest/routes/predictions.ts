import { Hono } from 'hono';
import type { PredictionRow } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import { mayUse } from '../authorization.js';
import type { FindStored } from '../prediction-cache.js';

export interface PredictionRoutesOptions {
  /** Predictions made lately, here or in a copy of this process. */
  recall: (eventId: string, pipelines: readonly string[]) => Promise<PredictionRow[]>;
  findStored: FindStored;
  /** Names of all pipelines. */
  pipelines: readonly string[];
}

/** `/v1/predictions/{eventId}`: the newest prediction of an event, with all that is known of where it came from. */
export function predictionRoutes({ recall, findStored, pipelines }: PredictionRoutesOptions): Hono {
  const app = new Hono();
  app.get('/:eventId', async (c) => {
    const eventId = c.req.param('eventId');
    const visible = pipelines.filter((name) => mayUse(c, name));
    const stored = async (): Promise<PredictionRow[]> =>
      (await findStored([eventId])).filter(({ pipeline }) => visible.includes(pipeline));
    const row = newest(await recall(eventId, visible)) ?? newest(await stored());
    if (row === undefined) {
      throw new MillraceError(
        'PREDICTION_UNKNOWN',
        `There is no prediction for the event '${eventId}'. An event that was just accepted has one a moment later.`,
      );
    }
    return c.json({ ...row, features: JSON.parse(row.features) as unknown });
  });
  return app;
}

function newest(rows: PredictionRow[]): PredictionRow | undefined {
  return rows.toSorted((a, b) => b.predicted_at.localeCompare(a.predicted_at))[0];
}
