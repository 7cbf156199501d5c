-- purpose: what a person must look at, by kind of break, partner account and age, with the money at stake.
-- grain: kind, partner_account, currency. Reads: report_break_at_stake. Decided breaks are counted apart.
SELECT kind, partner_account, count(*) FILTER (WHERE NOT is_decided) AS item_count,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided), 0) AS amount, currency,
       coalesce(sum(base) FILTER (WHERE NOT is_decided), 0) AS base,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND base IS NULL), 0) AS without_base,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND age_days <= 30), 0) AS age_30,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND age_days BETWEEN 31 AND 60), 0) AS age_60,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND age_days BETWEEN 61 AND 90), 0) AS age_90,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND age_days BETWEEN 91 AND 180), 0) AS age_180,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND age_days > 180), 0) AS age_more,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND is_old), 0) AS last_period,
       coalesce(sum(amount) FILTER (WHERE NOT is_decided AND NOT is_old), 0) AS change,
       count(*) FILTER (WHERE is_decided) AS decided_count
FROM report_break_at_stake
GROUP BY kind, partner_account, currency
ORDER BY kind, partner_account, currency
