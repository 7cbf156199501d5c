-- purpose: the batches of the entity in the state that was known.
-- grain, key: batch_id. Reads: payout.batch, payout.approval, payout.transmission, report_payout.
-- When a file was frozen is kept nowhere: known at an instant, a batch is reserved until it is approved.
WITH found AS (
    SELECT batch_id, bool_and(state = 'canceled') AS is_canceled,
           bool_or(state IN ('in_flight', 'settled', 'returned')) AS is_sent
    FROM report_payout
    GROUP BY batch_id
)
SELECT b.batch_id, b.entity, b.bank, b.currency, b.selected_for, b.execute_on, b.payout_count, b.total_minor,
       b.released_by, b.sha256,
       CASE
           WHEN %(known)s::timestamp IS NULL THEN b.state
           WHEN f.is_sent THEN 'sent'
           WHEN f.is_canceled THEN 'canceled'
           WHEN EXISTS (SELECT 1 FROM payout.transmission AS t
                        WHERE t.batch_id = b.batch_id AND t.intended_at <= %(known)s
                            AND (t.outcome IS NULL OR t.outcome = 'unknown' OR t.recorded_at > %(known)s)) THEN 'unknown'
           WHEN EXISTS (SELECT 1 FROM payout.approval AS a
                        WHERE a.batch_id = b.batch_id AND a.sha256 = b.sha256 AND a.approved_at <= %(known)s)
               THEN 'approved'
           ELSE 'reserved'
       END AS state
FROM payout.batch AS b
LEFT JOIN found AS f USING (batch_id)
WHERE b.entity = %(entity)s AND (%(known)s::timestamp IS NULL OR f.batch_id IS NOT NULL)
