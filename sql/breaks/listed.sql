-- purpose: the open breaks with what people said of each, as it stands on a day.
-- grain: one break.
-- reads: ops.break, ops.stated_break, ops.decision. Runs on PostgreSQL.
-- key: partner_account, transaction_id, line_id, kind. parameter: day.
-- The name of a break is of what it says now, the money at stake included: who decides by it decides about what they saw.
SELECT encode(sha256(convert_to(concat_ws('|', b.evidence_hash, b.amount, b.currency), 'UTF8')), 'hex') AS name,
       b.partner, b.partner_account, b.transaction_id, b.line_id, b.kind, b.sale_id, b.expected, b.found, b.amount,
       b.currency, b.evidence_hash, b.opened_on, b.opened_run,
       greatest(%(day)s - b.opened_on, 0) AS age_days,
       coalesce(k.state, 'open') AS state, k.decision_id, k.decision_kind, k.decided_by, k.decided_at, k.agreed_by,
       k.reason, w.click_id, k.until_on, k.claim_amount,
       -- Said of what the break no longer says.
       coalesce(NOT k.is_covering AND NOT k.is_proposed, false) AS is_reopened,
       CASE WHEN NOT k.is_covering THEN k.seen_expected END AS seen_expected,
       CASE WHEN NOT k.is_covering THEN k.seen_found END AS seen_found,
       CASE WHEN NOT k.is_covering THEN k.seen_amount END AS seen_amount,
       CASE WHEN NOT k.is_covering THEN k.seen_currency END AS seen_currency,
       (SELECT count(*) FROM ops.decision AS d
        WHERE d.partner_account = b.partner_account AND d.transaction_id = b.transaction_id
            AND d.line_id = b.line_id AND d.break_kind = b.kind) AS decision_count
FROM ops.break AS b
LEFT JOIN ops.stated_break(%(day)s) AS k
    ON k.partner_account = b.partner_account AND k.transaction_id = b.transaction_id AND k.line_id = b.line_id
    AND k.kind = b.kind
LEFT JOIN ops.decision AS w ON w.decision_id = k.decision_id
