-- purpose: what partners delivered for the period, how much of it was taken, and what is held.
-- grain, key: partner_account. Reads: report_newest_parse.
SELECT partner_account, count(*) FILTER (WHERE is_this) AS item_count,
       coalesce(sum(row_count) FILTER (WHERE is_this), 0) AS row_count,
       coalesce(sum(transaction_count) FILTER (WHERE is_this), 0) AS transaction_count,
       coalesce(sum(reject_count) FILTER (WHERE is_this), 0) AS reject_count,
       coalesce(sum(validation_reject_count) FILTER (WHERE is_this), 0) AS validation_reject_count,
       count(*) FILTER (WHERE is_this AND validation_state = 'held' AND released_by IS NULL) AS held_count,
       coalesce(sum(row_count) FILTER (WHERE is_last), 0) AS last_count,
       coalesce(sum(row_count) FILTER (WHERE is_this), 0)
           - coalesce(sum(row_count) FILTER (WHERE is_last), 0) AS change_count
FROM report_newest_parse
GROUP BY partner_account
ORDER BY partner_account
