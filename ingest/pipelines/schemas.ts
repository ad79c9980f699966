import { z } from 'zod';
import { ref, time } from '../openapi/describe.js';

/** An Idempotency-Key as the client sends it. */
export const idempotencyKeySchema = z.string().min(1).max(256);

/** A prediction in `predict`'s form; the rest is at `/v1/predictions/{eventId}`. */
export const predictionSchema = z
  .object({
    event_id: z.string(),
    prediction_id: z.uuid().describe('Follows from event id and model digest.'),
    pipeline: z.string(),
    model: z.string(),
    model_version: z.string(),
    model_digest: z.string().describe('Identity of the version: of its graph and its model.json.'),
    event_time: time,
    predicted_at: time,
    score: z.number().describe('In the unit that the model card names.'),
    label: z.string().nullable().describe('The class. `null`: the model does not classify.'),
    outputs: z
      .record(z.string(), z.unknown())
      .describe(
        'All named outputs of the model: a number, text or boolean, a list, or for classes an object with the probability of each. Empty in predictions of earlier releases.',
      ),
    role: z.enum(['champion', 'canary']).describe('Which version of the model answered.'),
    model_event: z
      .int()
      .describe('Offset on millrace.models of the alias event under which it scored; -1: not known.'),
    model_event_at: time.nullable().describe('When that event was made.'),
  })
  .meta({ id: 'Prediction' });

export type Prediction = z.infer<typeof predictionSchema>;

/** The index of a failed event in an array. */
const itemProblem = z.looseObject({ code: z.string() }).meta({ allOf: [ref('Problem')] });

export const predictionsSchema = z
  .object({ predictions: z.array(z.union([predictionSchema, itemProblem])) })
  .meta({
    id: 'Predictions',
    description: 'In the order of the events. An event that failed has its problem.',
  });

export const acceptedSchema = z
  .object({
    accepted: z.int(),
    event_ids: z.array(z.string()).describe('Of the accepted events, in their order.'),
    rejected: z.array(
      z
        .looseObject({ index: z.int().describe('Place in the request, from 0.') })
        .meta({ allOf: [ref('Problem')] }),
    ),
  })
  .meta({ id: 'Accepted' });

const modelSchema = z.object({ name: z.string(), version: z.string(), digest: z.string() });

export const pipelineSchema = z
  .object({
    name: z.string(),
    status: z.enum(['up', 'down']).describe('`down`: requests for it get 503, and its events wait.'),
    reason: z.string().nullable().describe('Why it is down, and what to do.'),
    model: z.string().optional().describe('The first of `models`.'),
    model_version: z.string().optional(),
    model_digest: z.string().optional(),
    models: z.array(modelSchema).describe('The champions that may answer.'),
    topics: z.object({
      events: z.string(),
      predictions: z.string(),
      dead_letters: z.string(),
      outcomes: z.string(),
    }),
  })
  .meta({ id: 'Pipeline' });

export const pipelinesSchema = z.object({ pipelines: z.array(pipelineSchema) });
