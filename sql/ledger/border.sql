-- purpose: what went into the border between scales and what came out of it, brought to one scale.
-- grain: one currency.
-- reads: posting, account.
-- key: currency.
WITH side AS (
    SELECT account_id, split_part(asset, '/', 1) AS currency, asset LIKE '%/4' AS is_partner_side,
        CASE split_part(asset, '/', 2) WHEN '4' THEN 1 WHEN '3' THEN 10 WHEN '2' THEN 100 WHEN '1' THEN 1000 ELSE 10000
            END AS factor
    FROM account
    WHERE kind = 'border'
),
movement AS (
    SELECT s.currency, s.is_partner_side, p.amount * s.factor AS amount
    FROM posting AS p
    JOIN side AS s ON s.account_id = p.debit
    UNION ALL
    SELECT s.currency, s.is_partner_side, -p.amount * s.factor AS amount
    FROM posting AS p
    JOIN side AS s ON s.account_id = p.credit
)
SELECT currency,
    CAST(coalesce(-sum(amount) FILTER (WHERE is_partner_side), 0) AS BIGINT) AS amount_in,
    CAST(coalesce(sum(amount) FILTER (WHERE NOT is_partner_side), 0) AS BIGINT) AS amount_out
FROM movement
GROUP BY currency
ORDER BY currency
