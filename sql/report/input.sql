-- purpose: what went into these books, as known: the deliveries' bytes and the people's decisions, as one hash each.
-- grain: one row. Reads: ops.delivery, ops.run, ops.decision, ops.agreement, ops.hold_release.
WITH delivery AS (
    SELECT count(*) AS delivery_count,
           encode(sha256(convert_to(coalesce(string_agg(delivery_id || ' ' || sha256, E'\n' ORDER BY delivery_id), ''),
                                    'UTF8')), 'hex') AS delivery_hash
    FROM ops.delivery AS d
    LEFT JOIN ops.run AS r ON r.run_id = d.landed_run
    WHERE (%(known)s::timestamp IS NULL OR coalesce(r.started_at, d.observed_at) <= %(known)s)
),
decided AS (
    SELECT concat_ws(' ', 'decision', decision_id, kind, coalesce(sale_id, ''), coalesce(click_id, ''),
                     coalesce(undoes, ''), evidence_hash, amount, currency, until_on, approved_amount) AS line
    FROM ops.decision
    WHERE (%(known)s::timestamp IS NULL OR decided_at <= %(known)s)
    UNION ALL
    SELECT 'agreement ' || decision_id || ' ' || agreed_by FROM ops.agreement
    WHERE (%(known)s::timestamp IS NULL OR agreed_at <= %(known)s)
    UNION ALL
    SELECT 'release ' || delivery_id || ' ' || parse_version || ' ' || released_by FROM ops.hold_release
    WHERE (%(known)s::timestamp IS NULL OR released_at <= %(known)s)
),
decision AS (
    SELECT count(*) AS decision_count,
           encode(sha256(convert_to(coalesce(string_agg(line, E'\n' ORDER BY line), ''), 'UTF8')),
                  'hex') AS decision_hash
    FROM decided
)
SELECT delivery_count, delivery_hash, decision_count, decision_hash FROM delivery CROSS JOIN decision
