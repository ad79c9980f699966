import { z } from 'zod';
import { predictionSchema } from '../pipelines/schemas.js';

/** A prediction with its event and the event's position on the log. */
export const storedPredictionSchema = predictionSchema
  .extend({
    features: z
      .unknown()
      .describe('Fields of the event. Text where another producer put no JSON on the log.'),
    source: z.string().describe('CloudEvents source of the event, such as `millrace/http`.'),
    topic: z.string(),
    partition: z.int(),
    offset: z.int(),
    schema_id: z.int().nullable(),
    latency_ms: z.number().describe('From receiving the event to its prediction, milliseconds.'),
  })
  .meta({ id: 'StoredPrediction' });

export type StoredPrediction = z.infer<typeof storedPredictionSchema>;
