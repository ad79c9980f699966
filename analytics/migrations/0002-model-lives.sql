-- Which role the model had that scored, and the alias event that gave it.
ALTER TABLE millrace.predictions_storage
    ADD COLUMN IF NOT EXISTS role LowCardinality(String) DEFAULT 'champion' COMMENT 'champion or canary: the answer; shadow: kept beside it for comparison',
    ADD COLUMN IF NOT EXISTS model_event Int64 DEFAULT -1 COMMENT 'Offset on millrace.models of the alias event under which the model scored; -1 when none is known',
    ADD COLUMN IF NOT EXISTS model_event_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When that alias event was made';

-- An answer wins over a shadow prediction with the same key (an event that is scored again by its former challenger);
-- else the first one, as before.
ALTER TABLE millrace.predictions_storage
    MODIFY COLUMN version UInt64 MATERIALIZED
        if(role = 'shadow', 9223372036854775807, 18446744073709551615) - toUnixTimestamp64Milli(predicted_at);

CREATE OR REPLACE VIEW millrace.predictions AS
SELECT
    event_id, prediction_id, pipeline, model, model_version, model_digest, event_time, predicted_at, score, label,
    features, source, topic, partition, offset, schema_id, latency_ms, role, model_event, model_event_at
FROM millrace.predictions_storage FINAL;

-- One row for each event of a model's life. model_event is the offset of its record; of a topic that was made anew the
-- later records count.
CREATE TABLE IF NOT EXISTS millrace.model_events_storage
(
    model_event Int64 COMMENT 'Offset of the record on millrace.models',
    model LowCardinality(String),
    kind LowCardinality(String) COMMENT 'registered, champion or challenger',
    version Nullable(String) COMMENT 'NULL: the challenger was taken away',
    digest Nullable(String),
    previous_version Nullable(String) COMMENT 'What the alias named before',
    shadow Bool,
    canary_share Float64,
    source String COMMENT 'What made the event',
    at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY model_event
SETTINGS non_replicated_deduplication_window = 1000;

CREATE VIEW IF NOT EXISTS millrace.model_events AS
SELECT model_event, model, kind, version, digest, previous_version, shadow, canary_share, source, at
FROM millrace.model_events_storage FINAL;

CREATE OR REPLACE VIEW millrace.ride_predictions AS
SELECT
    event_id AS trip_id,
    JSONExtract(features, 'pickup_community_area', 'Nullable(Int32)') AS pickup_community_area,
    JSONExtract(features, 'dropoff_community_area', 'Nullable(Int32)') AS dropoff_community_area,
    if(
        JSONType(features, 'trip_start_timestamp') = 'String',
        parseDateTime64BestEffortOrNull(JSONExtractString(features, 'trip_start_timestamp'), 3, 'UTC'),
        fromUnixTimestamp64Milli(JSONExtract(features, 'trip_start_timestamp', 'Nullable(Int64)'), 'UTC')
    ) AS trip_start_timestamp,
    JSONExtract(features, 'fare', 'Nullable(Float64)') AS fare,
    JSONExtract(features, 'trip_total', 'Nullable(Float64)') AS trip_total,
    JSONExtract(features, 'trip_miles', 'Nullable(Float64)') AS trip_miles,
    score AS predicted_duration,
    predicted_at AS created_at
FROM millrace.predictions
WHERE pipeline = 'taxi-trip-duration' AND role != 'shadow';
