-- purpose: the cashback and the bonus of a sale after every day on which it changed, each rounded once, on both sides.
-- grain: one component of one sale at one step, of sales that earn by a rule valid at the click.
-- reads: contracted, row_state, sale, cashback_rule, conversion_rate, currency_unit.
-- key: sale_id, step_on, component.
-- Each row earns by the rule of its commission group, or by the one that names none; their values are added before cap and
-- rounding. The value has ten digits. What the partner reports above its contract does not raise what we promise: it is
-- taken from the rule with the highest share. A sale that waits for a rate, or whose rows differ in currency, earns
-- nothing yet (is_waiting).
WITH several AS (
    SELECT program_id FROM cashback_rule GROUP BY program_id, component, commission_group HAVING COUNT(*) > 1
),
rule AS (
    SELECT r.program_id, r.component, r.commission_group, r.rule_id, r.valid_from, r.valid_until, r.basis, r.value, r.cap,
        r.currency, r.rounding,
        EXISTS (SELECT 1 FROM several AS p WHERE p.program_id = r.program_id) AS is_one_of_several
    FROM cashback_rule AS r
),
valid AS (
    SELECT s.sale_id, s.sale_on, r.component, r.commission_group, r.rule_id, r.valid_from, r.basis, r.value, r.cap,
        r.currency AS rule_currency, r.rounding, r.is_one_of_several
    FROM sale AS s
    JOIN rule AS r
        ON r.program_id = s.program_id AND r.valid_from <= s.clicked_at
        AND (r.valid_until IS NULL OR s.clicked_at < r.valid_until)
    WHERE s.outcome = 'matched' AND s.earns_cashback AND s.member_id IS NOT NULL
),
-- Most programs never had another rule: only sales of those that had are put in order.
ruled AS (
    SELECT sale_id, sale_on, component, commission_group, rule_id, basis, value, cap, rule_currency, rounding
    FROM valid
    WHERE NOT is_one_of_several
    UNION ALL
    SELECT sale_id, sale_on, component, commission_group, rule_id, basis, value, cap, rule_currency, rounding
    FROM valid
    WHERE is_one_of_several
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY sale_id, component, commission_group ORDER BY valid_from DESC, rule_id
    ) = 1
),
of_group AS (
    SELECT u.* FROM ruled AS u WHERE u.commission_group IS NOT NULL
),
-- What the step reports altogether and what its contract says of it stays with each of its rows.
standing AS (
    SELECT t.sale_id, t.step_on, t.commission_amount, t.sale_amount, t.currency, t.earning_group,
        c.row_count = 1 AS is_alone, c.expected_amount, c.tolerance,
        CAST(c.commission_amount AS DECIMAL(20, 10)) AS net_amount
    FROM row_state AS t
    JOIN contracted AS c ON c.sale_id = t.sale_id AND c.step_on = t.step_on
    WHERE t.status <> 'declined' AND c.commission_amount > 0
),
earning AS (
    SELECT t.sale_id, t.step_on, t.commission_amount, t.sale_amount, t.currency, t.is_alone, t.expected_amount,
        t.tolerance, t.net_amount, u.sale_on, u.component, u.rule_id, u.basis, u.value, u.cap, u.rule_currency, u.rounding
    FROM standing AS t
    JOIN of_group AS u ON u.sale_id = t.sale_id AND u.commission_group = t.earning_group
    UNION ALL
    SELECT t.sale_id, t.step_on, t.commission_amount, t.sale_amount, t.currency, t.is_alone, t.expected_amount,
        t.tolerance, t.net_amount, u.sale_on, u.component, u.rule_id, u.basis, u.value, u.cap, u.rule_currency, u.rounding
    FROM standing AS t
    JOIN ruled AS u ON u.sale_id = t.sale_id AND u.commission_group IS NULL
    WHERE NOT EXISTS (
        SELECT 1 FROM of_group AS g
        WHERE g.sale_id = t.sale_id AND g.component = u.component AND g.commission_group = t.earning_group
    )
),
-- Most steps have one row, which earns by one rule of a component: only those of the others are added up.
of_rule AS (
    SELECT sale_id, step_on, component, basis, value, is_alone, sale_on, cap, rule_currency, rounding, commission_amount,
        sale_amount, currency AS least_currency, currency AS greatest_currency, expected_amount, tolerance, net_amount
    FROM earning
    WHERE is_alone
    UNION ALL
    SELECT sale_id, step_on, component, basis, value, FALSE AS is_alone, MIN(sale_on) AS sale_on, MIN(cap) AS cap,
        MIN(rule_currency) AS rule_currency, MIN(rounding) AS rounding,
        CAST(SUM(commission_amount) AS DECIMAL(18, 4)) AS commission_amount,
        CAST(SUM(sale_amount) AS DECIMAL(18, 4)) AS sale_amount,
        MIN(currency) AS least_currency, MAX(currency) AS greatest_currency,
        MIN(expected_amount) AS expected_amount, MIN(tolerance) AS tolerance, MIN(net_amount) AS net_amount
    FROM earning
    WHERE NOT is_alone
    GROUP BY sale_id, step_on, component, rule_id, basis, value
),
valued AS (
    SELECT sale_id, step_on, component, basis, is_alone, sale_on, cap, rule_currency, rounding, least_currency,
        greatest_currency, expected_amount, tolerance, net_amount,
        CASE
            WHEN basis = 'sale_rate' THEN CAST(value AS DECIMAL(17, 6)) * CAST(sale_amount AS DECIMAL(20, 10))
            WHEN basis = 'commission_share'
                THEN CAST(value AS DECIMAL(17, 6)) * CAST(commission_amount AS DECIMAL(20, 10))
            WHEN commission_amount > 0 THEN CAST(value AS DECIMAL(37, 16))
            ELSE CAST(0 AS DECIMAL(37, 16))
        END AS rule_value,
        CASE WHEN basis = 'commission_share' THEN CAST(value AS DECIMAL(17, 6)) ELSE CAST(0 AS DECIMAL(17, 6)) END
            AS share
    FROM of_rule
),
summed AS (
    SELECT sale_id, step_on, component, sale_on, cap, rule_currency, rounding, basis = 'fixed' AS is_fixed,
        FALSE AS is_mixed, least_currency AS currency, CAST(rule_value AS DECIMAL(38, 16)) AS value, share,
        expected_amount, tolerance, net_amount
    FROM valued
    WHERE is_alone
    UNION ALL
    SELECT sale_id, step_on, component, MIN(sale_on) AS sale_on, MIN(cap) AS cap, MIN(rule_currency) AS rule_currency,
        MIN(rounding) AS rounding, MAX(basis) = 'fixed' AND MIN(basis) = 'fixed' AS is_fixed,
        MIN(least_currency) <> MAX(greatest_currency) AS is_mixed, MIN(least_currency) AS currency,
        CAST(SUM(rule_value) AS DECIMAL(38, 16)) AS value, MAX(share) AS share,
        MIN(expected_amount) AS expected_amount, MIN(tolerance) AS tolerance, MIN(net_amount) AS net_amount
    FROM valued
    WHERE NOT is_alone
    GROUP BY sale_id, step_on, component
),
counted AS (
    SELECT sale_id, step_on, component, sale_on, rule_currency, cap, rounding,
        CASE WHEN is_fixed THEN rule_currency ELSE currency END AS source_currency,
        NOT is_fixed AND is_mixed AS is_mixed,
        CAST(GREATEST(
            CASE
                WHEN net_amount > expected_amount + tolerance
                    THEN value - CAST(share * CAST(
                        net_amount - GREATEST(expected_amount, CAST(0 AS DECIMAL(20, 10))) AS DECIMAL(20, 10)
                    ) AS DECIMAL(38, 16))
                ELSE value
            END,
            CAST(0 AS DECIMAL(38, 16))
        ) AS DECIMAL(20, 10)) AS unrounded
    FROM summed
),
-- Both ways between two currencies are known, or neither is.
both_ways AS (
    SELECT f.sale_on, f.from_currency, f.to_currency, f.rate, b.rate AS rate_back, f.base_to_from, f.base_to_to
    FROM conversion_rate AS f
    JOIN conversion_rate AS b
        ON b.sale_on = f.sale_on AND b.from_currency = f.to_currency AND b.to_currency = f.from_currency
),
converted AS (
    SELECT c.sale_id, c.step_on, c.component, c.rule_currency, c.source_currency, c.rounding, c.unrounded, c.cap,
        c.is_mixed OR f.rate IS NULL AS is_waiting,
        f.base_to_from, f.base_to_to,
        CAST(c.unrounded * CAST(f.rate AS DECIMAL(17, 12)) AS DECIMAL(38, 22)) AS converted,
        CAST(CAST(c.cap AS DECIMAL(19, 4)) * CAST(f.rate_back AS DECIMAL(17, 12)) AS DECIMAL(38, 22)) AS cap_at_source,
        CAST(c.cap AS DECIMAL(18, 4)) * CAST(f.base_to_from AS DECIMAL(18, 9))
            < c.unrounded * CAST(f.base_to_to AS DECIMAL(18, 9)) AS is_capped
    FROM counted AS c
    LEFT JOIN both_ways AS f
        ON f.sale_on = c.sale_on AND f.from_currency = c.source_currency AND f.to_currency = c.rule_currency
),
capped AS (
    SELECT c.sale_id, c.step_on, c.component, c.rule_currency, c.source_currency, c.rounding, c.is_waiting,
        CASE WHEN c.is_capped THEN CAST(c.cap AS DECIMAL(38, 22)) ELSE c.converted END AS member_value,
        -- Of one currency both sides are one amount at two scales, and the member's says both.
        CASE
            WHEN c.source_currency = c.rule_currency THEN NULL
            WHEN c.is_capped THEN c.cap_at_source
            ELSE CAST(c.unrounded AS DECIMAL(38, 22))
        END AS source_value,
        -- The same value for the member exactly, as a quotient that is never carried out.
        CASE WHEN c.is_capped THEN CAST(CAST(c.cap AS DECIMAL(18, 4)) AS DECIMAL(38, 19))
            ELSE CAST(c.unrounded * CAST(c.base_to_to AS DECIMAL(18, 9)) AS DECIMAL(38, 19)) END AS dividend,
        CASE WHEN c.is_capped THEN CAST(1 AS DECIMAL(18, 9)) ELSE CAST(c.base_to_from AS DECIMAL(18, 9)) END AS divisor
    FROM converted AS c
),
-- Whole units and their fraction apart, so that no product leaves 38 digits; nothing here is negative.
parted AS (
    SELECT c.sale_id, c.step_on, c.component, c.rule_currency, c.source_currency, c.rounding, c.is_waiting, m.scale, m.unit,
        m.half_unit, c.dividend, c.divisor,
        CAST(FLOOR(c.member_value) AS BIGINT) * m.unit AS member_whole,
        CAST(c.member_value - FLOOR(c.member_value) AS DECIMAL(23, 22)) * CAST(m.unit AS DECIMAL(5, 0)) AS member_part,
        CAST(FLOOR(c.source_value) AS BIGINT) * 10000 AS source_whole,
        CAST(c.source_value - FLOOR(c.source_value) AS DECIMAL(23, 22)) * CAST(10000 AS DECIMAL(5, 0)) AS source_part
    FROM capped AS c
    JOIN currency_unit AS m ON m.currency = c.rule_currency
),
floored AS (
    SELECT p.sale_id, p.step_on, p.component, p.rule_currency, p.source_currency, p.rounding, p.is_waiting, p.scale, p.unit,
        p.half_unit, p.dividend, p.divisor,
        p.member_whole + CAST(FLOOR(p.member_part) AS BIGINT) AS member_floor,
        p.source_whole + CAST(FLOOR(p.source_part) AS BIGINT) AS source_floor,
        p.source_part - FLOOR(p.source_part) AS source_rest
    FROM parted AS p
),
-- The factor between two currencies is itself a rounded quotient, so that a value in the middle between two units looks to
-- be beside it. The middle is therefore compared exactly, by multiplying with what the factor divides by.
compared AS (
    SELECT f.*,
        CAST(2 * f.member_floor + 1 AS DECIMAL(15, 0)) * CAST(f.half_unit AS DECIMAL(5, 5))
            * CAST(f.divisor AS DECIMAL(18, 9)) AS middle
    FROM floored AS f
)
SELECT sale_id, step_on, component, rule_currency, source_currency, scale,
    -- What the member's amount is multiplied by to be the source's; of two currencies both are rounded from one value.
    CASE WHEN source_currency = rule_currency THEN 10000 // unit END AS source_factor,
    is_waiting,
    CASE WHEN is_waiting THEN CAST(0 AS BIGINT)
        ELSE member_floor + CASE
            WHEN dividend > middle OR (dividend = middle AND (rounding = 'half_up' OR member_floor % 2 = 1)) THEN 1
            ELSE 0
        END
    END AS member_minor,
    CASE WHEN is_waiting THEN CAST(0 AS BIGINT)
        ELSE source_floor + CASE
            WHEN source_rest > 0.5 OR (source_rest = 0.5 AND source_floor % 2 = 1) THEN 1
            ELSE 0
        END
    END AS source_minor
FROM compared
ORDER BY sale_id, step_on, component
