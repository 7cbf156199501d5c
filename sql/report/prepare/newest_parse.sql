-- purpose: the parse of each delivery that counts (the newest), with its validation where there is one.
-- grain, key: delivery_id. Reads: ops.delivery, ops.parse, ops.validation, ops.hold_release.
SELECT DISTINCT ON (d.delivery_id)
       d.delivery_id, d.partner, d.partner_account, d.window_from, d.window_until, d.observed_at, d.sha256,
       p.parse_version, p.row_count, p.transaction_count, p.reject_count,
       v.state AS validation_state, v.row_count AS validated_count, v.accepted_count,
       v.reject_count AS validation_reject_count, h.released_by,
       d.window_from < %(until)s AND d.window_until > %(from)s AS is_this,
       d.window_from < %(from)s AND d.window_until > %(last_from)s AS is_last
FROM ops.delivery AS d
JOIN ops.parse AS p USING (delivery_id)
LEFT JOIN ops.validation AS v USING (delivery_id, parse_version)
LEFT JOIN ops.hold_release AS h USING (delivery_id, parse_version)
ORDER BY d.delivery_id, p.parse_version DESC
