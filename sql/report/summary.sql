-- purpose: the first screen: five questions, each answered with count, amount, base amount, last period and change.
-- grain: topic, currency (or what is counted). Reads: report_*.
-- A topic without money in a currency is shown in the base currency only.
WITH topic (place, question, topic, label) AS (VALUES
    (10, 'What do partners owe us?', 'receivable', 'Approved and not yet paid to us'),
    (11, 'What do partners owe us?', 'overdue', 'of which approved more than 90 days ago'),
    (12, 'What do partners owe us?', 'expected', 'Pending at partners (may still be declined)'),
    (13, 'What do partners owe us?', 'received', 'Received from partners in the period'),
    (20, 'What do we owe members?', 'owed', 'Owed to members, all states'),
    (21, 'What do we owe members?', 'payable', 'of which payable now'),
    (22, 'What do we owe members?', 'debit', 'Members who owe us (reversals after payout)'),
    (30, 'What was sent and paid?', 'transmitted', 'Sent to the bank in the period (not yet confirmed paid)'),
    (31, 'What was sent and paid?', 'settled', 'Confirmed paid in the period'),
    (32, 'What was sent and paid?', 'returned', 'Returned by the bank in the period'),
    (40, 'What needs a look?', 'break', 'Open breaks and the money at stake'),
    (60, 'What did the period earn?', 'income', 'Commission approved, net of reversals'),
    (61, 'What did the period earn?', 'cost', 'Cashback on it, our cost')
),
fact (topic, currency, item_count, amount, base, without_base, last_period) AS (
    SELECT 'receivable', currency, count(*) FILTER (WHERE amount <> 0), sum(amount), sum(base), sum(without_base),
           sum(last_amount)
    FROM report_receivable
    GROUP BY currency
    UNION ALL
    SELECT 'overdue', currency, count(*) FILTER (WHERE amount <> 0), sum(amount), sum(base), sum(without_base), NULL
    FROM report_receivable
    WHERE age_days > 90
    GROUP BY currency
    UNION ALL
    SELECT 'expected', currency, count(*) FILTER (WHERE amount <> 0), sum(amount), sum(base), sum(without_base),
           sum(last_amount)
    FROM report_open_document
    WHERE kind = 'commission_expected'
    GROUP BY currency
    UNION ALL
    SELECT 'received', currency, count(DISTINCT (document_kind, document_id)) FILTER (WHERE is_this),
           -coalesce(sum(amount) FILTER (WHERE is_this), 0), -coalesce(sum(base) FILTER (WHERE is_this), 0),
           -coalesce(sum(without_base) FILTER (WHERE is_this), 0), -coalesce(sum(amount) FILTER (WHERE is_last), 0)
    FROM report_movement
    WHERE kind = 'commission_receivable' AND step = 'paid'
    GROUP BY currency
    UNION ALL
    SELECT s.topic, m.currency, count(*) FILTER (WHERE sign(m.amount) = s.sign),
           coalesce(sum(s.sign * m.amount) FILTER (WHERE sign(m.amount) = s.sign), 0),
           coalesce(sum(s.sign * m.base) FILTER (WHERE sign(m.amount) = s.sign), 0),
           coalesce(sum(s.sign * m.without_base) FILTER (WHERE sign(m.amount) = s.sign), 0),
           coalesce(sum(s.sign * m.last_amount) FILTER (WHERE sign(m.last_amount) = s.sign), 0)
    FROM (SELECT member_id, currency, sum(amount) AS amount, sum(base) AS base, sum(without_base) AS without_base,
                 sum(last_amount) AS last_amount
          FROM report_liability GROUP BY member_id, currency) AS m
    CROSS JOIN (VALUES ('owed', 1), ('debit', -1)) AS s (topic, sign)
    GROUP BY s.topic, m.currency
    UNION ALL
    SELECT 'payable', currency, count(*) FILTER (WHERE amount > 0), coalesce(sum(amount) FILTER (WHERE amount > 0), 0),
           coalesce(sum(base) FILTER (WHERE amount > 0), 0), coalesce(sum(without_base) FILTER (WHERE amount > 0), 0),
           coalesce(sum(last_amount) FILTER (WHERE last_amount > 0), 0)
    FROM report_liability
    WHERE kind = 'cashback_payable'
    GROUP BY currency
    UNION ALL
    SELECT e.event, p.currency, count(*) FILTER (WHERE e.happened_on >= %(from)s),
           coalesce(sum(p.amount) FILTER (WHERE e.happened_on >= %(from)s), 0),
           coalesce(sum(p.base) FILTER (WHERE e.happened_on >= %(from)s), 0),
           coalesce(sum(p.amount) FILTER (WHERE e.happened_on >= %(from)s AND p.base IS NULL), 0),
           coalesce(sum(p.amount) FILTER (WHERE e.happened_on < %(from)s), 0)
    FROM report_event AS e
    JOIN report_payout AS p USING (payout_id)
    WHERE e.event IN ('transmitted', 'settled', 'returned')
      AND e.happened_on >= %(last_from)s AND e.happened_on < %(until)s
    GROUP BY e.event, p.currency
    UNION ALL
    SELECT 'break', currency, count(*), sum(amount), coalesce(sum(base), 0),
           coalesce(sum(amount) FILTER (WHERE base IS NULL), 0), coalesce(sum(amount) FILTER (WHERE is_old), 0)
    FROM report_break_at_stake
    WHERE NOT is_decided
    GROUP BY currency
    UNION ALL
    SELECT CASE kind WHEN 'commission_income' THEN 'income' ELSE 'cost' END, currency,
           count(DISTINCT (document_kind, document_id)) FILTER (WHERE is_this),
           coalesce(sum(amount) FILTER (WHERE is_this), 0), coalesce(sum(base) FILTER (WHERE is_this), 0),
           coalesce(sum(without_base) FILTER (WHERE is_this), 0), coalesce(sum(amount) FILTER (WHERE is_last), 0)
    FROM report_movement
    WHERE kind IN ('commission_income', 'cashback_cost')
    GROUP BY kind, currency
),
money AS (
    SELECT t.place, t.question, t.label, coalesce(f.item_count, 0) AS item_count, coalesce(f.amount, 0) AS amount,
           coalesce(f.currency, %(base)s) AS currency, coalesce(f.base, 0) AS base,
           coalesce(f.without_base, 0) AS without_base,
           CASE WHEN t.topic <> 'overdue' THEN coalesce(f.last_period, 0) END AS last_period,
           CASE WHEN t.topic <> 'overdue' THEN coalesce(f.amount, 0) - coalesce(f.last_period, 0) END AS change
    FROM topic AS t
    LEFT JOIN fact AS f ON f.topic = t.topic AND (f.item_count <> 0 OR f.amount <> 0 OR f.last_period <> 0)
),
counted AS (
    SELECT 41 AS place, 'What needs a look?' AS question, 'Rows of partners'' files not taken (rejects)' AS label,
           coalesce(sum(reject_count + coalesce(validation_reject_count, 0)) FILTER (WHERE is_this), 0) AS item_count
    FROM report_newest_parse
    UNION ALL
    SELECT 42, 'What needs a look?', 'Deliveries held until a person releases them',
           count(*) FILTER (WHERE validation_state = 'held' AND released_by IS NULL)
    FROM report_newest_parse
    UNION ALL
    SELECT 43, 'What needs a look?', 'Batches whose sending has no known outcome', count(*)
    FROM report_batch WHERE selected_for < %(until)s AND state = 'unknown'
    UNION ALL
    SELECT 50, 'Do the books prove?', 'Checks that differ (see Control)', count(*) FILTER (WHERE NOT is_equal)
    FROM report_control
    UNION ALL
    SELECT 51, 'Do the books prove?', 'Checks that hold', count(*) FILTER (WHERE is_equal) FROM report_control
)
SELECT question, label, item_count, amount, currency, base, without_base, last_period, change FROM (
    SELECT place, question, label, item_count, amount, currency, base, without_base, last_period, change FROM money
    UNION ALL
    SELECT place, question, label, item_count, NULL, NULL, NULL, NULL, NULL, NULL FROM counted) AS line
ORDER BY place, label, currency
