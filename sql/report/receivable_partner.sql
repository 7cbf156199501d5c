-- purpose: approved commission that partners have not paid yet, by partner account and age.
-- grain: partner_account, currency. Reads: report_receivable.
SELECT partner_account, count(*) FILTER (WHERE amount <> 0) AS item_count, sum(amount) AS amount, currency,
       sum(base) AS base, sum(without_base) AS without_base,
       coalesce(sum(amount) FILTER (WHERE age_days <= 30), 0) AS age_30,
       coalesce(sum(amount) FILTER (WHERE age_days BETWEEN 31 AND 60), 0) AS age_60,
       coalesce(sum(amount) FILTER (WHERE age_days BETWEEN 61 AND 90), 0) AS age_90,
       coalesce(sum(amount) FILTER (WHERE age_days BETWEEN 91 AND 180), 0) AS age_180,
       coalesce(sum(amount) FILTER (WHERE age_days > 180), 0) AS age_more,
       sum(last_amount) AS last_period, sum(amount) - sum(last_amount) AS change
FROM report_receivable
GROUP BY partner_account, currency
ORDER BY partner_account, currency
