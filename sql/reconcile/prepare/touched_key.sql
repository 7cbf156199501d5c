-- purpose: the transactions whose versions may be others now that some deliveries are new or say something else.
-- grain: one transaction row.
-- reads: observation (of those deliveries, as they were parsed before too), last_observation (the newest version of those
--        keys, unless it is absent), new_delivery (those that were never seen), doubted_key (conflicting versions),
--        known_key (the keys known to be of the days of one of those deliveries).
-- key: partner_account, transaction_id, line_id.
-- A row that repeats the last word, later, changes nothing: whatever was said since then said the same. What a complete
-- answer leaves out may be absent now.
WITH told AS (
    SELECT partner_account, transaction_id, line_id, delivery_id, content_hash, clock_at, observed_at,
        count(*) OVER (PARTITION BY partner_account, transaction_id, line_id, delivery_id) AS told_count
    FROM observation
),
repeated AS (
    SELECT t.partner_account, t.transaction_id, t.line_id, t.delivery_id
    FROM told AS t
    JOIN last_observation AS l
        ON l.partner_account = t.partner_account AND l.transaction_id = t.transaction_id AND l.line_id = t.line_id
        AND l.content_hash = t.content_hash
    JOIN new_delivery AS n ON n.delivery_id = t.delivery_id
    WHERE t.told_count = 1 AND l.clock_at <= t.clock_at AND l.observed_at < t.observed_at
        AND (t.partner_account, t.transaction_id, t.line_id) NOT IN (
            SELECT (partner_account, transaction_id, line_id) FROM doubted_key
        )
)
SELECT DISTINCT partner_account, transaction_id, line_id
FROM (
    SELECT t.partner_account, t.transaction_id, t.line_id
    FROM told AS t
    ANTI JOIN repeated AS r
        ON r.partner_account = t.partner_account AND r.transaction_id = t.transaction_id AND r.line_id = t.line_id
        AND r.delivery_id = t.delivery_id
    UNION ALL
    SELECT k.partner_account, k.transaction_id, k.line_id
    FROM known_key AS k
    ANTI JOIN told AS t
        ON t.partner_account = k.partner_account AND t.transaction_id = k.transaction_id AND t.line_id = k.line_id
        AND t.delivery_id = k.delivery_id
) AS touched
ORDER BY partner_account, transaction_id, line_id
