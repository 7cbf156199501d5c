-- purpose: what the accepted rows of a delivery say of it as a whole.
-- grain: one delivery. Reads: row (canonical transactions of some deliveries), rejected (delivery_id, row_number of those
--   that a check rejected), delivery (place, delivery_id, its window's midnights in UTC). Key: place.
-- parameters: window_column.
WITH placed AS (
    SELECT
        r.delivery_id, r.transaction_id, r.line_id, r.content_hash,
        CASE $window_column
            WHEN 'occurred_at' THEN r.occurred_at
            WHEN 'processed_at' THEN r.processed_at
            WHEN 'modified_at' THEN r.modified_at
        END AS happened_at,
        -- Cut times lie before the true ones by up to their precision.
        to_seconds(CASE WHEN $window_column = 'occurred_at' THEN r.occurred_precision_seconds ELSE 60 END) AS precision
    FROM row AS r
    ANTI JOIN rejected AS x ON x.delivery_id = r.delivery_id AND x.row_number = r.row_number
),
-- Hardly any key comes twice, and to count different contents of every key takes twice as long as all else.
repeated AS (
    SELECT delivery_id, transaction_id, line_id
    FROM placed
    GROUP BY delivery_id, transaction_id, line_id
    HAVING count(*) > 1
),
keyed AS (
    SELECT delivery_id,
        sum(row_count - content_count) AS repeated_count,
        count(*) FILTER (WHERE content_count > 1) AS conflicting_keys
    FROM (
        SELECT p.delivery_id, count(*) AS row_count, count(DISTINCT p.content_hash) AS content_count
        FROM placed AS p
        SEMI JOIN repeated AS r
            ON r.delivery_id = p.delivery_id AND r.transaction_id = p.transaction_id AND r.line_id = p.line_id
        GROUP BY p.delivery_id, p.transaction_id, p.line_id
    )
    GROUP BY delivery_id
),
timed AS (
    SELECT d.delivery_id,
        count(*) FILTER (
            WHERE p.happened_at >= d.window_until_at OR p.happened_at + p.precision <= d.window_from_at
        ) AS outside_window,
        max(p.happened_at) AS newest_at
    FROM delivery AS d
    JOIN placed AS p ON p.delivery_id = d.delivery_id
    GROUP BY d.delivery_id
)
SELECT d.place, t.newest_at,
    CAST(coalesce(t.outside_window, 0) AS BIGINT) AS outside_window,
    CAST(coalesce(k.conflicting_keys, 0) AS BIGINT) AS conflicting_keys,
    CAST(coalesce(k.repeated_count, 0) AS BIGINT) AS repeated_count
FROM delivery AS d
LEFT JOIN timed AS t ON t.delivery_id = d.delivery_id
LEFT JOIN keyed AS k ON k.delivery_id = d.delivery_id
ORDER BY d.place
