-- All that a model gives for an event, by name; score and label are taken from it. Rows from before this read {}.
ALTER TABLE millrace.predictions_storage
    ADD COLUMN IF NOT EXISTS outputs String DEFAULT '{}' COMMENT 'All named outputs of the model as a JSON object' CODEC(ZSTD(1));

CREATE OR REPLACE VIEW millrace.predictions AS
SELECT
    event_id, prediction_id, pipeline, model, model_version, model_digest, event_time, predicted_at, score, label,
    features, source, topic, partition, offset, schema_id, latency_ms, role, model_event, model_event_at, outputs
FROM millrace.predictions_storage FINAL;
