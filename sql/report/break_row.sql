-- purpose: the open breaks one by one, largest first, with the row of the partner's file each is about.
-- grain, key: kind, partner_account, transaction_id, line_id. Reads: report_break_at_stake.
WITH ranked AS (
    SELECT b.*, row_number() OVER (PARTITION BY kind, partner_account, currency
                                   ORDER BY amount DESC, transaction_id, line_id) AS place,
           count(*) OVER one_group AS group_count, sum(amount) OVER one_group AS group_amount
    FROM report_break_at_stake AS b
    WHERE NOT is_decided
    WINDOW one_group AS (PARTITION BY kind, partner_account, currency)
),
shown AS (
    SELECT ranked.*, count(*) OVER one_group AS shown_count, sum(amount) OVER one_group AS shown_amount
    FROM ranked
    WHERE place <= %(group_limit)s
    WINDOW one_group AS (PARTITION BY kind, partner_account, currency)
)
SELECT kind, partner_account, program, transaction_id, line_id, amount, currency, base, expected, found, state,
       opened_on, age_days, delivery_id, row_number, group_count - shown_count AS left_out_count,
       group_amount - shown_amount AS left_out_amount, count(*) OVER () AS all_rows
FROM shown
ORDER BY kind, partner_account, currency, place, transaction_id, line_id
LIMIT %(row_limit)s
