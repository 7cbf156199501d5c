-- purpose: each payout of the entity as a decimal amount with the base amount of its reservation, and its last event.
-- grain, key: payout_id. Reads: payout.payout, payout.batch, report_event, report_movement, report_currency.
WITH reserved AS (
    SELECT document_id AS payout_id, sum(base) AS base, sum(without_base) AS without_base
    FROM report_movement
    WHERE document_kind = 'payout' AND kind = 'payout_reserved' AND amount > 0
    GROUP BY document_id
),
last_event AS (
    SELECT DISTINCT ON (payout_id) payout_id, event AS last_event
    FROM report_event
    WHERE happened_on < %(until)s
    ORDER BY payout_id, event_no DESC
),
known_event AS (
    SELECT DISTINCT ON (payout_id) payout_id, event
    FROM report_event
    ORDER BY payout_id, event_no DESC
)
SELECT p.payout_id, p.batch_id, p.member_id, p.currency,
       CASE WHEN %(known)s::timestamp IS NULL THEN p.state WHEN k.event = 'transmitted' THEN 'in_flight' ELSE k.event END
           AS state,
       e.last_event,
       (p.amount_minor / power(10::numeric, c.scale))::numeric(24, 4) AS amount,
       CASE WHEN p.currency = %(base)s THEN (p.amount_minor / power(10::numeric, c.scale))::numeric(24, 4)
            WHEN r.without_base = 0 THEN r.base END AS base,
       c.scale
FROM payout.payout AS p
JOIN payout.batch AS b USING (batch_id)
JOIN report_currency AS c ON c.currency = p.currency
LEFT JOIN reserved AS r USING (payout_id)
LEFT JOIN last_event AS e USING (payout_id)
LEFT JOIN known_event AS k USING (payout_id)
WHERE b.entity = %(entity)s AND b.selected_for < %(until)s AND (%(known)s::timestamp IS NULL OR k.event IS NOT NULL)
