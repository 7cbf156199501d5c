-- purpose: the parse of each delivery that counts (the newest), with its validation where there is one, as known.
-- grain, key: delivery_id. Reads: ops.delivery, ops.parse, ops.validation, ops.hold_release, ops.run.
SELECT DISTINCT ON (d.delivery_id)
       d.delivery_id, d.partner, d.partner_account, d.window_from, d.window_until, d.observed_at, d.sha256,
       p.parse_version, p.row_count, p.transaction_count, p.reject_count,
       v.state AS validation_state, v.row_count AS validated_count, v.accepted_count,
       v.reject_count AS validation_reject_count, h.released_by,
       d.window_from < %(until)s AND d.window_until > %(from)s AS is_this,
       d.window_from < %(from)s AND d.window_until > %(last_from)s AS is_last
FROM ops.delivery AS d
JOIN ops.parse AS p USING (delivery_id)
LEFT JOIN ops.validation AS v
    ON v.delivery_id = p.delivery_id AND v.parse_version = p.parse_version
    AND (%(known)s::timestamp IS NULL
         OR coalesce((SELECT c.started_at FROM ops.run AS c WHERE c.run_id = v.run_id), d.observed_at) <= %(known)s)
LEFT JOIN ops.hold_release AS h
    ON h.delivery_id = v.delivery_id AND h.parse_version = v.parse_version AND (%(known)s::timestamp IS NULL OR h.released_at <= %(known)s)
LEFT JOIN ops.run AS l ON l.run_id = d.landed_run
LEFT JOIN ops.run AS r ON r.run_id = p.run_id
WHERE (%(known)s::timestamp IS NULL OR coalesce(l.started_at, d.observed_at) <= %(known)s)
    AND (%(known)s::timestamp IS NULL OR coalesce(r.started_at, d.observed_at) <= %(known)s)
ORDER BY d.delivery_id, p.parse_version DESC
