-- purpose: the balances of each member by state, largest first.
-- grain: member_id, currency. Reads: report_liability.
WITH member AS (
    SELECT member_id, currency,
           coalesce(sum(amount) FILTER (WHERE kind = 'cashback_pending'), 0) AS pending,
           coalesce(sum(amount) FILTER (WHERE kind = 'cashback_confirmed'), 0) AS confirmed,
           coalesce(sum(amount) FILTER (WHERE kind = 'cashback_payable'), 0) AS payable,
           coalesce(sum(amount) FILTER (WHERE kind = 'payout_reserved'), 0) AS reserved,
           coalesce(sum(amount) FILTER (WHERE kind = 'payout_in_flight'), 0) AS in_flight,
           sum(amount) AS amount, sum(base) AS base, sum(last_amount) AS last_period
    FROM report_liability
    GROUP BY member_id, currency
)
SELECT member_id, currency, pending, confirmed, payable, reserved, in_flight, amount, base, last_period,
       amount - last_period AS change, count(*) OVER () AS all_rows
FROM member
WHERE amount <> 0 OR pending <> 0 OR confirmed <> 0 OR payable <> 0 OR reserved <> 0 OR in_flight <> 0
ORDER BY abs(amount) DESC, member_id, currency
LIMIT %(row_limit)s
