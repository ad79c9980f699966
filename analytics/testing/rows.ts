import type { DeadLetterResolutionRow, DeadLetterRow, OutcomeRow, PredictionRow } from '../rows.js';

/** Valid rows for tests, with overrides. */
export function predictionRow(set: Partial<PredictionRow> = {}): PredictionRow {
  return {
    event_id: 'event-1',
    prediction_id: '0199a0b0-0000-5000-8000-000000000001',
    pipeline: 'credit-default',
    model: 'credit-default',
    model_version: '1',
    model_digest: 'sha256:00',
    event_time: '2026-01-31T12:00:00.000Z',
    predicted_at: '2026-01-31T12:00:00.123Z',
    score: 0.25,
    label: 'no_default',
    features: '{"LIMIT_BAL":20000}',
    source: '/ingest',
    topic: 'credit-default.events',
    partition: 0,
    offset: 0,
    schema_id: 1,
    latency_ms: 1.5,
    role: 'champion',
    model_event: 1,
    model_event_at: '2026-01-30T12:00:00.000Z',
    outputs: '{"probability":0.25}',
    ...set,
  };
}

export function deadLetterRow(set: Partial<DeadLetterRow> = {}): DeadLetterRow {
  return {
    dead_letter_id: '0199a0b0-0000-5000-8000-000000000002',
    pipeline: 'credit-default',
    reason: 'BAD_BYTES',
    detail: 'The value is not Avro.',
    topic: 'credit-default.events',
    partition: 0,
    offset: 0,
    schema_id: null,
    event_id: null,
    key: null,
    value: Buffer.alloc(0),
    failed_at: '2026-01-31T12:00:00.123Z',
    ...set,
  };
}

export function resolutionRow(set: Partial<DeadLetterResolutionRow> = {}): DeadLetterResolutionRow {
  return {
    dead_letter_id: '0199a0b0-0000-5000-8000-000000000002',
    pipeline: 'credit-default',
    resolution: 'redriven',
    note: '',
    resolved_at: '2026-02-01T00:00:00.000Z',
    ...set,
  };
}

export function outcomeRow(set: Partial<OutcomeRow> = {}): OutcomeRow {
  return {
    event_id: 'event-1',
    pipeline: 'credit-default',
    outcome: 1,
    observed_at: '2026-02-28T00:00:00.000Z',
    topic: 'credit-default.outcomes',
    partition: 0,
    offset: 0,
    ...set,
  };
}
