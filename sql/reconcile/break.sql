-- purpose: what a person must look at: every break that no standing decision has answered.
-- grain: one kind of break of one row; what is about a whole sale is told of its leading row.
-- reads: noted_row, grouped_sale, sale_match, duplicate, conflict, missing_conversion, settled_match, decision
--        (those in force), cashback_rule, fx_rate, sale_day, contracted, commission_tolerance. Parameters day,
--        base_currency (null: no books, so no rates are missed).
-- key: partner_account, transaction_id, line_id, kind.
-- A decision answers the evidence it was made on, and no more money than was at stake then: when the evidence changes its
-- hash does, and the break is open again. What can happen twice to a row says when it did. To wait or to dispute is no
-- answer.
WITH standing AS NOT MATERIALIZED (
    SELECT m.sale_id, m.currency, m.is_currency_mixed, m.standing_count, m.net_commission_amount, m.is_reduction,
        m.program_currency,
        CASE WHEN c.sale_id IS NOT NULL THEN CAST(c.expected_amount AS DECIMAL(28, 10)) ELSE m.rate_amount END
            AS contract_amount,
        COALESCE(t.amount, CAST(0 AS DECIMAL(18, 4))) AS tolerated_amount,
        COALESCE(t.share, CAST(0 AS DECIMAL(9, 6))) AS tolerated_share
    FROM sale_match AS m
    LEFT JOIN contracted AS c ON c.sale_id = m.sale_id
    LEFT JOIN commission_tolerance AS t ON t.partner_account = m.partner_account
    WHERE m.standing_count > 0
),
dated AS NOT MATERIALIZED (
    SELECT m.sale_id, m.currency, m.program_id, m.clicked_at, d.sale_on
    FROM sale_match AS m
    JOIN sale_day AS d ON d.occurred_at = m.occurred_at
    WHERE m.standing_count > 0
),
rate_needed AS (
    SELECT sale_id, sale_on, currency FROM dated WHERE currency <> $base_currency
    UNION
    SELECT s.sale_id, s.sale_on, r.currency
    FROM dated AS s
    JOIN cashback_rule AS r
        ON r.program_id = s.program_id AND r.valid_from <= s.clicked_at
        AND (r.valid_until IS NULL OR s.clicked_at < r.valid_until)
    WHERE r.currency <> $base_currency
),
rate_missed AS (
    SELECT n.sale_id, n.sale_on, MIN(n.currency) AS currency
    FROM rate_needed AS n
    LEFT JOIN (
        SELECT quote AS currency, MIN(rate_on) AS first_on, MAX(rate_on) AS last_on
        FROM fx_rate
        GROUP BY quote
    ) AS f ON f.currency = n.currency
    -- A weekend with holidays is at most five days without a rate.
    WHERE n.sale_on + 5 < $day AND (f.currency IS NULL OR f.first_on > n.sale_on OR f.last_on <= n.sale_on)
    GROUP BY n.sale_id, n.sale_on
),
-- What is about a sale: of few sales, so that only theirs are the rows that are looked up. No amount: the sale's own.
of_sale AS (
    SELECT sale_id, break_kind AS kind, expected, found, CAST(NULL AS DECIMAL(18, 4)) AS amount,
        break_kind = 'unknown_program' AS is_holding
    FROM sale_match
    WHERE break_kind IS NOT NULL
    UNION ALL
    SELECT sale_id, 'duplicate' AS kind, 'one sale' AS expected,
        'the same ' || evidence || ' as sale ' || winner_id AS found, NULL AS amount, TRUE AS is_holding
    FROM duplicate
    UNION ALL
    SELECT sale_id, 'currency_differs' AS kind, program_currency AS expected,
        CASE WHEN is_currency_mixed THEN 'several currencies' ELSE currency END AS found, NULL AS amount,
        TRUE AS is_holding
    FROM standing
    WHERE program_currency IS NOT NULL AND (currency <> program_currency OR is_currency_mixed)
    UNION ALL
    SELECT sale_id, 'commission_differs' AS kind,
        CAST(CAST(ROUND(contract_amount, 4) AS DECIMAL(18, 4)) AS VARCHAR) AS expected,
        CAST(net_commission_amount AS VARCHAR) AS found,
        CAST(CAST(net_commission_amount AS DECIMAL(28, 4)) - ROUND(contract_amount, 4) AS DECIMAL(18, 4)) AS amount,
        TRUE AS is_holding
    FROM standing
    WHERE contract_amount IS NOT NULL AND currency = program_currency AND NOT is_currency_mixed AND NOT is_reduction
        -- Each row may have been rounded by half a cent; an account may be given more.
        AND ABS(CAST(net_commission_amount AS DECIMAL(28, 10)) - contract_amount)
            > GREATEST(
                CAST(0.01 AS DECIMAL(28, 10)),
                CAST(0.005 AS DECIMAL(9, 4)) * CAST(standing_count AS DECIMAL(18, 0)),
                CAST(tolerated_amount AS DECIMAL(28, 10)),
                CAST(ROUND(ABS(contract_amount) * tolerated_share, 10) AS DECIMAL(28, 10))
            )
    UNION ALL
    SELECT sale_id, 'rate_missing' AS kind, 'a rate of ' || currency || ' on ' || CAST(sale_on AS VARCHAR) AS expected,
        'none' AS found, NULL AS amount, TRUE AS is_holding
    FROM rate_missed
    UNION ALL
    SELECT m.sale_id, 'match_would_change' AS kind,
        'click ' || COALESCE(t.click_id, 'none') || ', which was paid out' AS expected,
        'click ' || COALESCE(m.click_id, 'none') AS found, NULL AS amount, TRUE AS is_holding
    FROM settled_match AS t
    JOIN sale_match AS m ON m.sale_id = t.sale_id
    WHERE m.outcome <> 'waiting' AND t.rule <> 'decision' AND m.click_id IS DISTINCT FROM t.click_id
),
found AS (
    SELECT s.partner, s.partner_account, s.transaction_id, s.line_id, o.kind, s.sale_id, o.expected, o.found,
        COALESCE(o.amount, s.net_commission_amount) AS amount, s.currency, o.is_holding
    FROM of_sale AS o
    JOIN grouped_sale AS s ON s.sale_id = o.sale_id
    UNION ALL
    SELECT partner, partner_account, transaction_id, line_id, 'vanished_at_partner' AS kind, sale_id,
        'a row in a complete answer' AS expected, 'no row since ' || CAST(absent_since AS VARCHAR) AS found,
        commission_amount AS amount, currency, TRUE AS is_holding
    FROM noted_row
    WHERE is_absent
    UNION ALL
    SELECT partner, partner_account, transaction_id, line_id, 'illegal_status_change' AS kind, sale_id,
        'a legal change' AS expected, illegal_change || ' at ' || CAST(changed_at AS VARCHAR) AS found,
        commission_amount AS amount, currency, TRUE AS is_holding
    FROM noted_row
    WHERE illegal_change IS NOT NULL
    UNION ALL
    SELECT c.partner, c.partner_account, c.transaction_id, c.line_id, 'conflicting_versions' AS kind, r.sale_id,
        c.expected, c.found, r.commission_amount AS amount, r.currency, TRUE AS is_holding
    FROM conflict AS c
    LEFT JOIN noted_row AS r
        ON r.partner_account = c.partner_account AND r.transaction_id = c.transaction_id AND r.line_id = c.line_id
    UNION ALL
    SELECT partner, partner_account, conversion_id AS transaction_id, '' AS line_id, 'missing_at_partner' AS kind,
        NULL AS sale_id, 'a sale of program ' || program_id || ' with order ' || COALESCE(order_ref, '?') AS expected,
        'none since ' || CAST(occurred_at AS VARCHAR) AS found, amount, currency, FALSE AS is_holding
    FROM missing_conversion
),
evidence AS (
    SELECT f.*, sha256(concat_ws('|', kind, partner_account, transaction_id, line_id, expected, found)) AS evidence_hash
    FROM found AS f
),
answer AS (
    SELECT sale_id, evidence_hash, break_kind, amount
    FROM decision
    WHERE kind IN ('accept_click', 'no_cashback', 'release_hold')
)
SELECT e.partner, e.partner_account, e.transaction_id, e.line_id, e.kind, e.sale_id, e.expected, e.found, e.amount,
    e.currency, e.evidence_hash, e.is_holding
FROM evidence AS e
WHERE NOT EXISTS (
    SELECT 1
    FROM answer AS a
    WHERE a.evidence_hash = e.evidence_hash AND COALESCE(a.sale_id, '') = COALESCE(e.sale_id, '')
        -- A decision of before breaks were named in them says nothing of the money.
        AND (a.break_kind IS NULL OR ABS(COALESCE(e.amount, 0)) <= ABS(COALESCE(a.amount, 0)))
)
ORDER BY e.partner, e.partner_account, e.transaction_id, e.line_id, e.kind
