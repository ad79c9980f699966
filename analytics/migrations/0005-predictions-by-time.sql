-- Predictions by the time of their events, newest first, without what is long. predictions_storage is ordered by event, so a
-- question about a time reads all of it. The key follows from content (never from predicted_at), so a row that is
-- inserted again replaces itself here as there.
CREATE TABLE IF NOT EXISTS millrace.predictions_by_time_storage
(
    event_time DateTime64(3, 'UTC'),
    prediction_id UUID,
    event_id String,
    pipeline LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    role LowCardinality(String),
    predicted_at DateTime64(3, 'UTC'),
    score Float64,
    label LowCardinality(Nullable(String)),
    latency_ms Float64,
    version UInt64 COMMENT 'As in predictions_storage',
    INDEX by_event_time event_time TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (-toUnixTimestamp64Milli(event_time), prediction_id)
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 1024;

CREATE MATERIALIZED VIEW IF NOT EXISTS millrace.predictions_to_time TO millrace.predictions_by_time_storage AS
SELECT
    event_time, prediction_id, event_id, pipeline, model, model_version, role, predicted_at, score, label, latency_ms,
    version
FROM millrace.predictions_storage;

-- Its order is that of the key, so LIMIT reads only the newest rows. The index may be used with FINAL, as all rows of a key
-- have the same event_time.
CREATE VIEW IF NOT EXISTS millrace.predictions_by_time AS
SELECT
    event_id, prediction_id, pipeline, model, model_version, role, event_time, predicted_at, score, label, latency_ms
FROM millrace.predictions_by_time_storage FINAL
ORDER BY -toUnixTimestamp64Milli(event_time)
SETTINGS use_skip_indexes_if_final = 1;
