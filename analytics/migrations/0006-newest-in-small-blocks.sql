-- In blocks of 65,409 rows, the newest five were found by reading that many of each part.
CREATE OR REPLACE VIEW millrace.predictions_by_time AS
SELECT
    event_id, prediction_id, pipeline, model, model_version, role, event_time, predicted_at, score, label, latency_ms
FROM millrace.predictions_by_time_storage FINAL
ORDER BY -toUnixTimestamp64Milli(event_time)
SETTINGS use_skip_indexes_if_final = 1, max_block_size = 4096;
