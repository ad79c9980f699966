import { z } from 'zod';
import { jobSchema } from '../jobs/schemas.js';

export const priceSchema = z
  .object({
    predicted_price: z.number().describe('In the currency of the model card.'),
    event_id: z.string(),
    model: z.string(),
    model_version: z.string(),
  })
  .meta({ id: 'Price' });

const rowSchema = z.object({
  row: z.int().describe('Counts from 1.'),
  predicted_price: z.number().nullable(),
  event_id: z.string().optional(),
  model: z.string().optional(),
  model_version: z.string().optional(),
  error: z.string().optional().describe('Why the row has no price.'),
});

export type PricedRow = z.infer<typeof rowSchema>;

export const uploadedSchema = jobSchema.extend({ message: z.string() }).meta({ id: 'Uploaded' });

export const pricedFileSchema = uploadedSchema
  .extend({ predictions: z.array(rowSchema) })
  .meta({ id: 'PricedFile' });
