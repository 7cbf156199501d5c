-- purpose: the newest known version of every row a partner reported, which names the delivery and row it came from.
-- grain, key: partner_account, transaction_id, line_id.
-- Reads: ops.transaction_version, ops.delivery, ops.run, ops.hold_release.
-- A version is known when the answer it came in was landed, or when that was released.
SELECT DISTINCT ON (partner_account, transaction_id, line_id)
       v.partner_account, v.transaction_id, v.line_id, v.sale_id, v.program_id, v.partner_program_id, v.status,
       v.commission_amount, v.currency, v.occurred_at, v.delivery_id, v.row_number
FROM ops.transaction_version AS v
WHERE %(known)s::timestamp IS NULL
    OR greatest(
        coalesce((SELECT r.started_at FROM ops.delivery AS d JOIN ops.run AS r ON r.run_id = d.landed_run
                  WHERE d.delivery_id = v.delivery_id), v.observed_at),
        (SELECT max(h.released_at) FROM ops.hold_release AS h WHERE h.delivery_id = v.delivery_id)
    ) <= %(known)s
ORDER BY partner_account, transaction_id, line_id, version_no DESC
