-- purpose: what each partner account leaves open of approved commission.
-- grain: one partner account and currency.
-- reads: sale_outcome.
-- key: partner_account, currency.
SELECT partner_account, currency, CAST(SUM(open_minor) AS BIGINT) AS open_minor
FROM sale_outcome
GROUP BY partner_account, currency
ORDER BY partner_account, currency
