-- purpose: approved commission that partners have not paid, by how long it is due.
-- grain: one partner account, currency and age.
-- reads: outcome.
-- key: partner_account, currency, age.
SELECT partner_account, currency, age, COUNT(*) AS sale_count,
    CAST(CAST(CAST(SUM(open_minor) AS BIGINT) AS DECIMAL(18, 0)) * 0.0001 AS DECIMAL(18, 4)) AS amount
FROM outcome
WHERE age IS NOT NULL
GROUP BY partner_account, currency, age
ORDER BY partner_account, currency,
    CASE age WHEN 'not_due' THEN 1 WHEN '1-30' THEN 2 WHEN '31-60' THEN 3 WHEN '61-90' THEN 4 WHEN '91-180' THEN 5
        WHEN 'more' THEN 6 ELSE 7 END, age
