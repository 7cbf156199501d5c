-- purpose: what members are owed, and what they owe us, apart, by state and age; then all states of a member together.
-- grain: state, currency, balance side. Reads: report_liability, report_account_kind.
-- Ages of a member's whole balance are the sum of the ages of the states, and stand there only.
WITH member AS (
    SELECT kind, member_id, currency, sum(amount) AS amount, sum(base) AS base, sum(without_base) AS without_base,
           sum(last_amount) AS last_amount, sum(age_30) AS age_30, sum(age_60) AS age_60, sum(age_90) AS age_90,
           sum(age_180) AS age_180, sum(age_more) AS age_more
    FROM report_liability
    GROUP BY kind, member_id, currency
    UNION ALL
    SELECT 'all', member_id, currency, sum(amount), sum(base), sum(without_base), sum(last_amount), NULL, NULL, NULL,
           NULL, NULL
    FROM report_liability
    GROUP BY member_id, currency
),
sided AS (
    SELECT m.kind, m.currency, s.side, m.amount AS balance, m.last_amount AS last_balance, s.sign, m.base,
           m.without_base, m.age_30, m.age_60, m.age_90, m.age_180, m.age_more
    FROM member AS m
    CROSS JOIN (VALUES ('we owe', 1), ('owe us', -1)) AS s (side, sign)
)
SELECT coalesce(a.label, 'All states of a member together') AS label, s.kind, s.side,
       count(*) FILTER (WHERE sign(s.balance) = s.sign) AS item_count,
       coalesce(sum(s.sign * s.balance) FILTER (WHERE sign(s.balance) = s.sign), 0) AS amount, s.currency,
       coalesce(sum(s.sign * s.base) FILTER (WHERE sign(s.balance) = s.sign), 0) AS base,
       coalesce(sum(s.sign * s.without_base) FILTER (WHERE sign(s.balance) = s.sign), 0) AS without_base,
       sum(s.age_30) FILTER (WHERE sign(s.balance) = s.sign) AS age_30,
       sum(s.age_60) FILTER (WHERE sign(s.balance) = s.sign) AS age_60,
       sum(s.age_90) FILTER (WHERE sign(s.balance) = s.sign) AS age_90,
       sum(s.age_180) FILTER (WHERE sign(s.balance) = s.sign) AS age_180,
       sum(s.age_more) FILTER (WHERE sign(s.balance) = s.sign) AS age_more,
       coalesce(sum(s.sign * s.last_balance) FILTER (WHERE sign(s.last_balance) = s.sign), 0) AS last_period,
       coalesce(sum(s.sign * s.balance) FILTER (WHERE sign(s.balance) = s.sign), 0)
           - coalesce(sum(s.sign * s.last_balance) FILTER (WHERE sign(s.last_balance) = s.sign), 0) AS change
FROM sided AS s
LEFT JOIN report_account_kind AS a ON a.kind = s.kind
GROUP BY a.place, a.label, s.kind, s.currency, s.side
HAVING count(*) FILTER (WHERE sign(s.balance) = s.sign OR sign(s.last_balance) = s.sign) > 0
ORDER BY s.currency, coalesce(a.place, 99), s.side DESC
