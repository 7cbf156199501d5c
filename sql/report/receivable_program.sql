-- purpose: the receivables of receivable_partner.sql by program.
-- grain: partner_account, currency, program_id. Reads: report_receivable.
SELECT partner_account, program, program_id, count(*) FILTER (WHERE amount <> 0) AS item_count, sum(amount) AS amount,
       currency, sum(base) AS base, sum(without_base) AS without_base,
       coalesce(sum(amount) FILTER (WHERE age_days <= 30), 0) AS age_30,
       coalesce(sum(amount) FILTER (WHERE age_days BETWEEN 31 AND 60), 0) AS age_60,
       coalesce(sum(amount) FILTER (WHERE age_days BETWEEN 61 AND 90), 0) AS age_90,
       coalesce(sum(amount) FILTER (WHERE age_days BETWEEN 91 AND 180), 0) AS age_180,
       coalesce(sum(amount) FILTER (WHERE age_days > 180), 0) AS age_more,
       sum(last_amount) AS last_period, sum(amount) - sum(last_amount) AS change,
       count(*) OVER () AS all_rows
FROM report_receivable
GROUP BY partner_account, program, program_id, currency
ORDER BY partner_account, currency, sum(amount) DESC, program, program_id
LIMIT %(row_limit)s
