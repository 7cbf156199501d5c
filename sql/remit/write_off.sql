-- purpose: the postings every write-off should have: what of a sale's open commission is given up, day by day, as flows.
-- grain: one flow of one sale, partner account and currency for one day.
-- reads: write_off (decisions in force), row_state, payment, sale, conversion_rate; parameter base_currency.
-- key: document_id, debit_owner, asset, effective_for.
-- Given up is what was seen to be open, of the commission that was approved then, as long as it is open: what the partner
-- pays or declines after all is given up no more, from the day it did; what it approves beyond is another question. A sale
-- that moved to another account is owed by that one: nothing of it is given up until somebody says so of it.
-- The rate is the sale's, so that the receivable goes with the base amount it came with.
WITH begun AS (
    -- A sale without a program has no state, and nothing of it is booked.
    SELECT sale_id, partner_account, currency, MIN(written_on) AS first_on
    FROM write_off
    WHERE sale_id IN (SELECT sale_id FROM row_state)
    GROUP BY sale_id, partner_account, currency
),
changing AS (
    SELECT w.sale_id, w.partner_account, w.currency, w.written_on AS on_day
    FROM write_off AS w
    JOIN begun AS b ON b.sale_id = w.sale_id AND b.partner_account = w.partner_account AND b.currency = w.currency
    UNION
    SELECT b.sale_id, b.partner_account, b.currency, r.step_on
    FROM begun AS b
    JOIN row_state AS r ON r.sale_id = b.sale_id AND r.step_on > b.first_on
    UNION
    SELECT b.sale_id, b.partner_account, b.currency, p.received_on
    FROM begun AS b
    JOIN payment AS p ON p.sale_id = b.sale_id AND p.currency = b.currency AND p.received_on > b.first_on
),
given AS (
    SELECT c.sale_id, c.partner_account, c.currency, c.on_day,
        CAST(SUM(w.amount_minor) AS BIGINT) AS given_minor, MAX(w.approved_minor) AS covered_minor
    FROM changing AS c
    JOIN write_off AS w
        ON w.sale_id = c.sale_id AND w.partner_account = c.partner_account AND w.currency = c.currency
        AND w.written_on <= c.on_day
    GROUP BY c.sale_id, c.partner_account, c.currency, c.on_day
),
stood AS (
    SELECT c.sale_id, c.partner_account, c.currency, c.on_day, MAX(r.step_on) AS step_on
    FROM changing AS c
    JOIN row_state AS r ON r.sale_id = c.sale_id AND r.step_on <= c.on_day
    GROUP BY c.sale_id, c.partner_account, c.currency, c.on_day
),
approved AS (
    SELECT s.sale_id, s.partner_account, s.currency, s.on_day,
        CAST(COALESCE(SUM(r.commission_minor) FILTER (
            WHERE r.status = 'approved' AND r.currency = s.currency AND r.partner_account = s.partner_account
        ), 0) AS BIGINT) AS approved_minor
    FROM stood AS s
    JOIN row_state AS r ON r.sale_id = s.sale_id AND r.step_on = s.step_on
    GROUP BY s.sale_id, s.partner_account, s.currency, s.on_day
),
paid AS (
    SELECT c.sale_id, c.partner_account, c.currency, c.on_day, CAST(SUM(p.amount_minor) AS BIGINT) AS paid_minor
    FROM changing AS c
    JOIN payment AS p ON p.sale_id = c.sale_id AND p.currency = c.currency AND p.received_on <= c.on_day
    GROUP BY c.sale_id, c.partner_account, c.currency, c.on_day
),
written AS (
    SELECT g.sale_id, g.partner_account, g.currency, g.on_day,
        GREATEST(0, LEAST(
            g.given_minor, LEAST(COALESCE(a.approved_minor, 0), g.covered_minor) - COALESCE(p.paid_minor, 0)
        )) AS written_minor
    FROM given AS g
    LEFT JOIN approved AS a
        ON a.sale_id = g.sale_id AND a.partner_account = g.partner_account AND a.currency = g.currency
        AND a.on_day = g.on_day
    LEFT JOIN paid AS p
        ON p.sale_id = g.sale_id AND p.partner_account = g.partner_account AND p.currency = g.currency
        AND p.on_day = g.on_day
),
change AS (
    SELECT w.*,
        written_minor - LAG(written_minor, 1, 0) OVER (
            PARTITION BY sale_id, partner_account, currency ORDER BY on_day
        ) AS amount
    FROM written AS w
)
SELECT c.sale_id AS document_id, 'bad_debt' AS debit_kind, c.partner_account AS debit_owner,
    'commission_receivable' AS credit_kind, c.partner_account AS credit_owner, c.currency || '/4' AS asset,
    CAST(c.amount AS BIGINT) AS amount, c.on_day AS effective_for, 'commission' AS component,
    CAST(r.rate AS DECIMAL(18, 12)) AS rate
FROM change AS c
JOIN sale AS s ON s.sale_id = c.sale_id
LEFT JOIN conversion_rate AS r
    ON r.sale_on = s.sale_on AND r.from_currency = c.currency AND r.to_currency = $base_currency
WHERE c.amount <> 0
ORDER BY document_id, debit_owner, asset, effective_for
