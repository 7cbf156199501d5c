-- purpose: what payouts say and what the ledger says of them, by where the money is.
-- grain: one account kind and asset.
-- reads: payout (asset, amount_minor, state), posting, account.
-- key: kind, asset.
WITH told AS (
    SELECT
        CASE state WHEN 'reserved' THEN 'payout_reserved' WHEN 'in_flight' THEN 'payout_in_flight' ELSE 'bank' END
            AS kind,
        asset, amount_minor AS amount
    FROM payout
    WHERE state IN ('reserved', 'in_flight', 'settled')
    UNION ALL
    SELECT 'cashback_payable' AS kind, asset, -amount_minor AS amount
    FROM payout
    WHERE state IN ('reserved', 'in_flight', 'settled')
),
booked AS (
    SELECT a.kind, a.asset, p.amount
    FROM posting AS p
    JOIN account AS a ON a.account_id = p.credit
    WHERE p.document_kind = 'payout'
    UNION ALL
    SELECT a.kind, a.asset, -p.amount AS amount
    FROM posting AS p
    JOIN account AS a ON a.account_id = p.debit
    WHERE p.document_kind = 'payout'
),
side AS (
    SELECT kind, asset, amount AS told_amount, CAST(0 AS BIGINT) AS booked_amount FROM told
    UNION ALL
    SELECT kind, asset, CAST(0 AS BIGINT) AS told_amount, amount AS booked_amount FROM booked
)
SELECT kind, asset, CAST(sum(told_amount) AS BIGINT) AS told_amount, CAST(sum(booked_amount) AS BIGINT) AS booked_amount
FROM side
GROUP BY kind, asset
ORDER BY kind, asset
