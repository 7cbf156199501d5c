-- purpose: what is true of a delivery as a whole, and against the history of its account, in whole numbers.
-- grain: one delivery; row_number is always 1. Key: place.
-- reads: delivery (those judged, in order), row_total, held (place of those that this run holds), history (those accepted
--   before: the newest of each window).
-- parameters: rejects_min, repeated_min, deliveries_min, history_days_min, history_deliveries_max, lost_rows_min,
--   silence_rows_min, volume_rows_min, volume_spreads, noise_spreads.
-- why: a fact that cannot be judged yet (too little history, too few rejects to speak of) is null, which passes.
--   Counts are compared by 200 times their root: there the chance in a count is 100 whatever its size, so one bound fits
--   small and large. What is held is no history, nor is the delivery itself, nor an answer to its own window.
WITH accepted AS (
    SELECT delivery_id, series, window_from, window_until, observed_at, row_count
    FROM history
    UNION ALL
    SELECT d.delivery_id, d.series, d.window_from, d.window_until, d.observed_at, d.row_count
    FROM delivery AS d
    WHERE d.place NOT IN (SELECT place FROM held)
),
earlier AS (
    SELECT d.place, a.delivery_id, a.window_from, a.window_until, a.observed_at, a.row_count,
        a.window_from = d.window_from AS is_same_start,
        a.window_until - a.window_from AS day_count, d.window_until - d.window_from AS own_day_count,
        -- Touches the last two days of a month or the first two of the next, and not the same ones as the delivery.
        date_trunc('month', a.window_from - 2) <> date_trunc('month', a.window_until + 1)
        AND abs(a.window_from - d.window_from) > 7 AS is_other_month_end
    FROM delivery AS d
    JOIN accepted AS a
        ON a.series = d.series
        AND (a.observed_at, a.window_from, a.delivery_id) < (d.observed_at, d.window_from, d.delivery_id)
),
before AS (
    SELECT place, row_count
    FROM earlier
    WHERE is_same_start AND day_count <= own_day_count
    QUALIFY row_number() OVER (PARTITION BY place ORDER BY observed_at DESC, day_count DESC, delivery_id DESC) = 1
),
newest AS (
    SELECT place, delivery_id, window_from, day_count, observed_at, row_count, is_other_month_end
    FROM earlier
    WHERE NOT is_same_start AND day_count = own_day_count
    QUALIFY row_number() OVER (PARTITION BY place, window_from ORDER BY observed_at DESC, delivery_id DESC) = 1
),
peer AS (
    SELECT place, day_count, row_count, is_other_month_end, CAST(round(200 * sqrt(row_count + 0.375)) AS BIGINT) AS root
    FROM newest
    QUALIFY row_number() OVER (PARTITION BY place ORDER BY observed_at DESC, window_from DESC, delivery_id DESC)
        <= $history_deliveries_max
),
middle AS (
    SELECT place, count(*) >= $deliveries_min AND sum(day_count) >= $history_days_min AS is_judged,
        bool_or(is_other_month_end) AS has_month_end, min(root) AS least, max(root) AS most,
        quantile_disc(root, 0.5) AS median_root, quantile_disc(row_count, 0.5) AS median
    FROM peer
    GROUP BY place
),
spread AS (
    -- 1.48 deviations at the median are one standard deviation; a count never varies less than by chance.
    SELECT p.place, greatest(148 * quantile_disc(abs(p.root - m.median_root), 0.5) // 100, 100) AS spread
    FROM peer AS p
    JOIN middle AS m ON m.place = p.place
    GROUP BY p.place
),
bounded AS (
    SELECT m.place, m.is_judged, m.median, m.least,
        m.has_month_end OR date_trunc('month', d.window_from - 2) = date_trunc('month', d.window_until + 1)
            AS is_high_judged,
        greatest(m.median_root + $volume_spreads * s.spread, m.most + $noise_spreads * 100) AS high_root,
        greatest(least(m.median_root - $volume_spreads * s.spread, m.least - $noise_spreads * 100), 0) AS low_root
    FROM middle AS m
    JOIN spread AS s ON s.place = m.place
    JOIN delivery AS d ON d.place = m.place
),
judged AS (
    SELECT place, is_judged, median, least, is_high_judged,
        CAST(floor(power(high_root / 200, 2)) AS BIGINT) AS volume_high,
        CAST(floor(power(low_root / 200, 2)) AS BIGINT) AS volume_low
    FROM bounded
)
SELECT
    d.place, CAST(1 AS BIGINT) AS row_number, t.outside_window, t.conflicting_keys,
    CAST(CASE WHEN d.reject_count >= $rejects_min THEN d.reject_count * 1000 // d.row_count END AS BIGINT)
        AS reject_permille,
    CAST(CASE WHEN t.repeated_count >= $repeated_min THEN t.repeated_count * 1000 // d.row_count END AS BIGINT)
        AS repeated_permille,
    CAST(
        CASE WHEN b.row_count - d.row_count >= $lost_rows_min THEN (b.row_count - d.row_count) * 1000 // b.row_count END
        AS BIGINT
    ) AS lost_permille,
    CAST(
        CASE WHEN NOT j.is_judged THEN NULL
             WHEN abs(d.row_count - j.median) < $volume_rows_min THEN 0
             ELSE greatest(
                 CASE WHEN j.is_high_judged THEN d.row_count - j.volume_high END, j.volume_low - d.row_count, 0)
        END AS BIGINT
    ) AS rows_beyond_history,
    CAST(
        -- 122 is the root of no rows: farther below all that was seen than chance goes.
        CASE WHEN j.is_judged AND j.median >= $silence_rows_min AND j.least - $noise_spreads * 100 > 122
             THEN CASE WHEN d.row_count = 0 THEN 1 ELSE 0 END END AS BIGINT
    ) AS is_silent,
    CAST(
        CASE WHEN j.is_judged AND j.median >= $silence_rows_min
             THEN greatest(date_diff('day', t.newest_at, least(d.window_until_at, d.observed_at)), 0) END AS BIGINT
    ) AS days_without_rows
FROM delivery AS d
JOIN row_total AS t ON t.place = d.place
LEFT JOIN before AS b ON b.place = d.place
LEFT JOIN judged AS j ON j.place = d.place
ORDER BY d.place
