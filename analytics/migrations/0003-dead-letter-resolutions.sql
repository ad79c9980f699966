-- What became of dead letters. A letter may be resolved again, so the last resolution wins.
CREATE TABLE IF NOT EXISTS millrace.dead_letter_resolutions_storage
(
    dead_letter_id UUID,
    pipeline LowCardinality(String),
    resolution LowCardinality(String) COMMENT 'redriven: put back where it came from; discarded: done with',
    note String COMMENT 'The operator''s reason',
    resolved_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(resolved_at)
ORDER BY dead_letter_id
SETTINGS non_replicated_deduplication_window = 1000;

CREATE VIEW IF NOT EXISTS millrace.dead_letter_resolutions AS
SELECT dead_letter_id, pipeline, resolution, note, resolved_at
FROM millrace.dead_letter_resolutions_storage FINAL;

-- As it was, and what became of each letter: NULL while it is open.
CREATE OR REPLACE VIEW millrace.dead_letters AS
SELECT
    letters.dead_letter_id AS dead_letter_id, pipeline, reason, detail, topic, partition, offset, schema_id, event_id,
    key, value, failed_at, resolution, resolved_at
FROM
(
    SELECT
        dead_letter_id, pipeline, reason, detail, topic, partition, offset, schema_id, event_id, key, value, failed_at
    FROM millrace.dead_letters_storage FINAL
) AS letters
LEFT JOIN
(
    SELECT dead_letter_id, CAST(resolution AS Nullable(String)) AS resolution, toNullable(resolved_at) AS resolved_at
    FROM millrace.dead_letter_resolutions_storage FINAL
) AS resolutions USING dead_letter_id;
