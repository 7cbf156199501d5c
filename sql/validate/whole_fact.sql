-- purpose: what is true of a delivery as a whole, and against the account's own history, in whole numbers.
-- grain, key: one row. Reads: row (its canonical transactions), rejected (row_number of those that
--   a check rejected), history (row_count of earlier deliveries of as many days).
-- parameters: window_column, window_from_at, window_until_at (the window's midnights in UTC), observed_at, row_count and
--   reject_count (parse and checks together), deliveries_min, rejects_min, silence_rows_min, volume_rows_min, mad_factor.
-- why: a fact that cannot be judged yet (too little history, too few rejects to speak of) is null, which passes.
WITH placed AS (
    SELECT
        transaction_id, line_id, content_hash,
        CASE $window_column
            WHEN 'occurred_at' THEN occurred_at
            WHEN 'processed_at' THEN processed_at
            WHEN 'modified_at' THEN modified_at
        END AS happened_at,
        -- Cut times lie before the true ones by up to their precision.
        to_seconds(CASE WHEN $window_column = 'occurred_at' THEN occurred_precision_seconds ELSE 60 END) AS precision
    FROM row
    WHERE row_number NOT IN (SELECT row_number FROM rejected)
),
window_fact AS (
    SELECT
        count(*) FILTER (
            WHERE happened_at >= CAST($window_until_at AS TIMESTAMP)
                OR happened_at + precision <= CAST($window_from_at AS TIMESTAMP)
        ) AS outside_window,
        max(happened_at) AS newest_at
    FROM placed
),
conflict AS (
    SELECT count(*) AS conflicting_keys
    FROM (
        SELECT transaction_id, line_id
        FROM placed
        GROUP BY transaction_id, line_id
        HAVING count(DISTINCT content_hash) > 1
    )
),
middle AS (
    SELECT count(*) AS delivery_count, quantile_disc(row_count, 0.5) AS median
    FROM history
),
spread AS (
    SELECT quantile_disc(abs(h.row_count - m.median), 0.5) AS deviation
    FROM history AS h
    CROSS JOIN middle AS m
),
judged AS (
    SELECT
        w.outside_window, w.newest_at, c.conflicting_keys, m.median,
        m.delivery_count >= $deliveries_min AS is_judged,
        -- Trade doubles before holidays and falls after them; what is far outside that and of the usual spread is not it.
        m.median + greatest($mad_factor * s.deviation, 2 * m.median, $volume_rows_min) AS volume_high,
        m.median - greatest($mad_factor * s.deviation, m.median - m.median // 10, $volume_rows_min) AS volume_low,
        least(CAST($window_until_at AS TIMESTAMP), CAST($observed_at AS TIMESTAMP)) AS told_until_at
    FROM window_fact AS w
    CROSS JOIN conflict AS c
    CROSS JOIN middle AS m
    CROSS JOIN spread AS s
)
SELECT
    CAST(outside_window AS BIGINT) AS outside_window,
    CAST(conflicting_keys AS BIGINT) AS conflicting_keys,
    CAST(CASE WHEN $reject_count >= $rejects_min THEN $reject_count * 1000 // $row_count END AS BIGINT) AS reject_permille,
    CAST(
        CASE WHEN is_judged THEN greatest($row_count - volume_high, volume_low - $row_count, 0) END AS BIGINT
    ) AS rows_beyond_history,
    CAST(
        CASE WHEN is_judged AND median >= $silence_rows_min THEN CASE WHEN $row_count = 0 THEN 1 ELSE 0 END END AS BIGINT
    ) AS is_silent,
    CAST(
        CASE WHEN is_judged AND median >= $silence_rows_min
             THEN greatest(date_diff('day', newest_at, told_until_at), 0) END AS BIGINT
    ) AS days_without_rows
FROM judged
