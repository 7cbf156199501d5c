-- purpose: the batches selected in the period, and older ones that are not finished.
-- grain, key: batch_id. Reads: report_batch, payout.batch, payout.approval, report_payout, report_currency.
WITH payout AS (
    SELECT batch_id, sum(amount) AS amount, sum(base) AS base,
           coalesce(sum(amount) FILTER (WHERE base IS NULL), 0) AS without_base,
           coalesce(sum(amount) FILTER (WHERE state = 'reserved'), 0) AS reserved,
           coalesce(sum(amount) FILTER (WHERE state = 'in_flight'), 0) AS in_flight,
           coalesce(sum(amount) FILTER (WHERE state = 'settled'), 0) AS settled,
           coalesce(sum(amount) FILTER (WHERE state IN ('returned', 'canceled')), 0) AS returned,
           bool_or(state IN ('reserved', 'in_flight')) AS is_open
    FROM report_payout
    GROUP BY batch_id
),
approval AS (
    SELECT a.batch_id, string_agg(a.approved_by, ', ' ORDER BY a.approved_at, a.approved_by) AS approved_by
    FROM payout.approval AS a
    JOIN payout.batch AS b ON b.batch_id = a.batch_id AND b.sha256 = a.sha256
    WHERE (%(known)s::timestamp IS NULL OR a.approved_at <= %(known)s)
    GROUP BY a.batch_id
)
SELECT b.batch_id, b.bank, b.selected_for, b.execute_on,
       CASE b.state WHEN 'sent' THEN 'sent (not yet confirmed paid)'
                    WHEN 'unknown' THEN 'unknown: ask the bank before anything else'
                    ELSE b.state END AS state,
       b.payout_count AS item_count, (b.total_minor / power(10::numeric, c.scale))::numeric(24, 4) AS amount,
       b.currency,
       p.base, p.without_base, coalesce(p.reserved, 0) AS reserved, coalesce(p.in_flight, 0) AS in_flight,
       coalesce(p.settled, 0) AS settled, coalesce(p.returned, 0) AS returned, b.released_by, a.approved_by, b.sha256,
       count(*) OVER () AS all_rows
FROM report_batch AS b
JOIN report_currency AS c ON c.currency = b.currency
LEFT JOIN payout AS p USING (batch_id)
LEFT JOIN approval AS a USING (batch_id)
WHERE b.entity = %(entity)s AND b.selected_for < %(until)s
  AND (b.selected_for >= %(from)s OR p.is_open OR b.state NOT IN ('sent', 'canceled'))
ORDER BY b.selected_for, b.batch_id
LIMIT %(row_limit)s
