-- purpose: what happened to payouts in the period, beside last period; sent is what the bank was given, not paid.
-- grain: event, currency. Reads: report_event, report_payout.
SELECT l.label, count(*) FILTER (WHERE e.happened_on >= %(from)s) AS item_count,
       coalesce(sum(p.amount) FILTER (WHERE e.happened_on >= %(from)s), 0) AS amount, p.currency,
       coalesce(sum(p.base) FILTER (WHERE e.happened_on >= %(from)s), 0) AS base,
       coalesce(sum(p.amount) FILTER (WHERE e.happened_on >= %(from)s AND p.base IS NULL), 0) AS without_base,
       count(*) FILTER (WHERE e.happened_on < %(from)s) AS last_count,
       coalesce(sum(p.amount) FILTER (WHERE e.happened_on < %(from)s), 0) AS last_period,
       coalesce(sum(p.amount) FILTER (WHERE e.happened_on >= %(from)s), 0)
           - coalesce(sum(p.amount) FILTER (WHERE e.happened_on < %(from)s), 0) AS change
FROM report_event AS e
JOIN report_payout AS p USING (payout_id)
JOIN (VALUES (1, 'reserved', 'Reserved in a batch'), (2, 'transmitted', 'Sent to the bank (not yet confirmed paid)'),
             (3, 'settled', 'Paid (confirmed by the bank)'), (4, 'returned', 'Returned by the bank'),
             (5, 'canceled', 'Canceled before sending')) AS l (place, event, label) ON l.event = e.event
WHERE e.happened_on >= %(last_from)s AND e.happened_on < %(until)s
GROUP BY l.place, l.label, p.currency
ORDER BY l.place, p.currency
