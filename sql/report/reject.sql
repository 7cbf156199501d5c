-- purpose: rows of the period's deliveries that were not taken, with the reason.
-- grain, key: delivery, row, stage, rule. Reads: ops.reject, report_newest_parse.
SELECT n.partner_account, r.delivery_id, r.row_number, r.transaction_id, r.stage, r.rule, r.column_name,
       left(r.value, 200) AS value, left(r.reason, 500) AS reason, count(*) OVER () AS all_rows
FROM ops.reject AS r
JOIN report_newest_parse AS n USING (delivery_id, parse_version)
WHERE n.is_this
ORDER BY n.partner_account, n.window_from, r.delivery_id, r.row_number, r.stage, r.rule
LIMIT %(row_limit)s
