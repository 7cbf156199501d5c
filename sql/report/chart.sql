-- purpose: the bars of the charts, already summed.
-- grain: chart, currency, label.
-- Reads: report_receivable, report_liability, report_break_at_stake, report_account_kind.
WITH aged AS (
    SELECT 'receivable' AS chart, b.place, b.label, r.currency, sum(r.amount) AS amount
    FROM report_receivable AS r
    JOIN (VALUES (1, '0 to 30 days', 0, 30), (2, '31 to 60 days', 31, 60), (3, '61 to 90 days', 61, 90),
                 (4, '91 to 180 days', 91, 180), (5, 'more than 180 days', 181, 1000000)) AS b (place, label, low, high)
        ON r.age_days BETWEEN b.low AND b.high
    GROUP BY b.place, b.label, r.currency
),
state (chart, place, label, currency, amount) AS (
    SELECT 'liability', a.place, a.label, l.currency, sum(l.amount)
    FROM report_liability AS l
    JOIN report_account_kind AS a ON a.kind = l.kind
    GROUP BY a.place, a.label, l.currency
),
broken (chart, place, label, currency, amount) AS (
    SELECT 'break', row_number() OVER (PARTITION BY currency ORDER BY sum(amount) DESC, kind), kind, currency,
           sum(amount)
    FROM report_break_at_stake
    WHERE NOT is_decided
    GROUP BY kind, currency
    HAVING sum(amount) <> 0
)
SELECT chart, currency, place, label, amount
FROM (SELECT chart, place, label, currency, amount FROM aged
      UNION ALL SELECT chart, place, label, currency, amount FROM state
      UNION ALL SELECT chart, place, label, currency, amount FROM broken) AS bar
WHERE amount <> 0
ORDER BY chart, currency, place, label
