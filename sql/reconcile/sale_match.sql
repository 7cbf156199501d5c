-- purpose: what the rules alone say of each sale: its click and the rule, or why there is none.
-- grain: one sale.
-- reads: grouped_sale, exact_click, program_state, candidate_click, seal.
-- key: sale_id.
-- The first rule that names exactly one click is believed or contradicted; none after it is asked. Rules that need
-- uniqueness, and the verdict that there is no click, wait until all clicks they could be about are in. The program agrees
-- with the exact click if the click's was, at the click or at the sale, what the partner's program number meant. What is
-- asked of all sales afterwards is told here again, so that nobody needs to join all of them once more.
WITH sealed AS (
    SELECT MIN(sealed_until) AS sealed_until FROM seal
),
counted AS (
    SELECT sale_id, rule, COUNT(*) AS click_count, MIN(click_id) AS click_id,
        CASE rule WHEN 'click_ref_repaired' THEN 1 WHEN 'order_ref' THEN 2 ELSE 3 END AS rule_order
    FROM candidate_click
    GROUP BY sale_id, rule
),
believed AS (
    SELECT n.sale_id, n.rule, n.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM counted AS n
    JOIN candidate_click AS c ON c.sale_id = n.sale_id AND c.rule = n.rule AND c.click_id = n.click_id
    WHERE n.click_count = 1
        -- Several conversions of one order are a question for a person, not for the clock.
        AND NOT (n.rule = 'click_time' AND EXISTS (
            SELECT 1 FROM counted AS o WHERE o.sale_id = n.sale_id AND o.rule = 'order_ref' AND o.click_count > 1
        ))
    QUALIFY ROW_NUMBER() OVER (PARTITION BY n.sale_id ORDER BY n.rule_order) = 1
),
doubted AS (
    SELECT sale_id, MAX(click_count) AS click_count,
        MIN(rule) AS rule
    FROM counted
    WHERE click_count > 1
    GROUP BY sale_id
),
asked AS NOT MATERIALIZED (
    SELECT s.*, CASE WHEN NOT s.is_ref_mixed THEN s.click_ref END AS exact_ref FROM grouped_sale AS s
),
-- Most programs never changed: which of its states held is asked of the others only.
agreed AS (
    SELECT s.sale_id, p.program_id, p.merchant_id, p.currency, p.commission_rate, p.lookback_days
    FROM asked AS s
    JOIN program_state AS p
        ON NOT p.is_lasting AND p.partner = s.partner AND p.partner_program_id = s.partner_program_id
    JOIN exact_click AS e ON e.click_id = s.exact_ref AND e.partner = s.partner AND e.program_id = p.program_id
    WHERE (s.told_program_id IS NULL OR s.told_program_id = p.program_id)
        AND ((p.valid_from <= e.clicked_at AND (p.valid_until IS NULL OR e.clicked_at < p.valid_until))
            OR (p.valid_from <= s.occurred_at AND (p.valid_until IS NULL OR s.occurred_at < p.valid_until)))
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY s.sale_id
        ORDER BY CASE WHEN p.valid_from <= e.clicked_at AND (p.valid_until IS NULL OR e.clicked_at < p.valid_until)
            THEN 0 ELSE 1 END, p.valid_from DESC
    ) = 1
),
named AS NOT MATERIALIZED (
    SELECT s.*, e.click_id AS exact_click_id, e.program_id AS exact_program_id, e.member_id AS exact_member_id,
        e.clicked_at AS exact_clicked_at,
        COALESCE(a.program_id, p.program_id) AS agreed_program_id,
        COALESCE(a.merchant_id, p.merchant_id) AS agreed_merchant_id,
        COALESCE(a.currency, p.currency) AS agreed_currency,
        COALESCE(a.commission_rate, p.commission_rate) AS agreed_rate,
        COALESCE(a.lookback_days, p.lookback_days) AS agreed_lookback_days
    FROM asked AS s
    LEFT JOIN exact_click AS e ON e.click_id = s.exact_ref
    LEFT JOIN program_state AS p
        ON p.is_lasting AND p.partner = s.partner AND p.partner_program_id = s.partner_program_id
        AND p.program_id = e.program_id AND e.partner = s.partner
        AND (s.told_program_id IS NULL OR s.told_program_id = p.program_id)
        AND ((p.valid_from <= e.clicked_at AND (p.valid_until IS NULL OR e.clicked_at < p.valid_until))
            OR (p.valid_from <= s.occurred_at AND (p.valid_until IS NULL OR s.occurred_at < p.valid_until)))
    LEFT JOIN agreed AS a ON a.sale_id = s.sale_id
),
judged AS NOT MATERIALIZED (
    SELECT s.sale_id, s.partner, s.partner_account, s.transaction_id, s.line_id, s.is_lead_reduction, s.kind, s.order_ref,
        s.click_ref, s.currency, s.is_reduction,
        s.is_ref_mixed, s.is_currency_mixed, s.is_click_unexpected, s.occurred_at, s.occurred_until, s.standing_count,
        s.net_sale_amount, s.net_commission_amount, s.program_id AS sale_program_id,
        CASE WHEN s.exact_click_id IS NOT NULL THEN 'click_ref' ELSE b.rule END AS rule,
        s.exact_click_id IS NOT NULL AS is_exact,
        COALESCE(s.exact_click_id, b.click_id) AS click_id,
        COALESCE(s.exact_program_id, b.program_id) AS click_program_id,
        COALESCE(s.exact_member_id, b.member_id) AS member_id,
        COALESCE(s.exact_clicked_at, b.clicked_at) AS clicked_at,
        CASE WHEN s.exact_click_id IS NOT NULL THEN s.agreed_program_id IS NOT NULL
            ELSE b.program_id = s.program_id AND b.partner = s.partner END AS is_program_agreed,
        CASE WHEN s.agreed_program_id IS NOT NULL THEN s.agreed_program_id ELSE s.program_id END AS program_id,
        CASE WHEN s.agreed_program_id IS NOT NULL THEN s.agreed_merchant_id ELSE s.merchant_id END AS merchant_id,
        CASE WHEN s.agreed_program_id IS NOT NULL THEN s.agreed_currency ELSE s.program_currency END AS program_currency,
        CASE WHEN s.agreed_program_id IS NOT NULL THEN s.agreed_rate ELSE s.commission_rate END AS commission_rate,
        CASE WHEN s.agreed_program_id IS NOT NULL THEN s.agreed_lookback_days ELSE s.lookback_days END AS lookback_days,
        d.click_count AS doubt_count, d.rule AS doubt_rule,
        -- An exact click waits for nothing.
        CASE WHEN s.exact_click_id IS NULL THEN COALESCE(z.sealed_until >= GREATEST(
            s.occurred_until,
            CASE WHEN s.partner_clicked_precision_seconds BETWEEN 1 AND 3600
                THEN COALESCE(
                    s.partner_clicked_at + INTERVAL 1 SECOND * (2 * s.partner_clicked_precision_seconds),
                    s.occurred_until)
                ELSE s.occurred_until END
        ), FALSE) END AS is_sealed
    FROM named AS s
    CROSS JOIN sealed AS z
    LEFT JOIN believed AS b ON b.sale_id = s.sale_id
    LEFT JOIN doubted AS d ON d.sale_id = s.sale_id
),
timed AS (
    SELECT j.*,
        CASE
            WHEN j.click_id IS NULL THEN NULL
            WHEN NOT j.is_program_agreed THEN 'click_of_another_program'
            WHEN j.clicked_at > j.occurred_at AND j.clicked_at >= j.occurred_until THEN 'click_after_sale'
            WHEN j.clicked_at < j.occurred_at - INTERVAL 1 DAY * j.lookback_days THEN 'outside_window'
        END AS contradiction
    FROM judged AS j
),
said AS (
    SELECT t.*,
        CASE
            WHEN is_reduction AND kind <> 'bonus' THEN 'reversal_without_original'
            WHEN is_ref_mixed THEN 'ambiguous'
            WHEN program_id IS NULL THEN 'unknown_program'
            WHEN is_exact THEN contradiction
            WHEN is_click_unexpected THEN 'no_click_expected'
            WHEN NOT is_sealed THEN 'waiting'
            WHEN click_id IS NOT NULL THEN contradiction
            WHEN doubt_count IS NOT NULL THEN 'ambiguous'
            ELSE 'unmatched'
        END AS verdict
    FROM timed AS t
)
SELECT sale_id, partner, partner_account, transaction_id, line_id, is_lead_reduction, order_ref, currency,
    is_currency_mixed, is_reduction, standing_count, net_commission_amount,
    CASE WHEN kind = 'sale'
        THEN CAST(commission_rate * CAST(net_sale_amount AS DECIMAL(28, 4)) AS DECIMAL(28, 10)) END AS rate_amount,
    program_id, merchant_id, program_currency, commission_rate, occurred_at,
    CASE WHEN verdict IS NULL THEN 'matched' WHEN verdict = 'waiting' THEN 'waiting' ELSE 'unmatched' END AS outcome,
    CASE WHEN verdict IS NULL THEN rule END AS rule,
    CASE WHEN verdict IS NULL THEN click_id END AS click_id,
    CASE WHEN verdict IS NULL THEN clicked_at END AS clicked_at,
    CASE WHEN verdict IS NULL THEN member_id END AS member_id,
    CASE WHEN verdict <> 'waiting' THEN verdict END AS break_kind,
    CASE verdict
        WHEN 'reversal_without_original' THEN 'an original sale'
        WHEN 'ambiguous' THEN 'one click'
        WHEN 'unmatched' THEN 'a click'
        WHEN 'no_click_expected' THEN 'no click'
        WHEN 'unknown_program' THEN 'a program of the reference data'
        WHEN 'click_of_another_program' THEN 'a click of program ' || COALESCE(sale_program_id, program_id)
        WHEN 'click_after_sale' THEN 'a click before ' || CAST(occurred_until AS VARCHAR)
        WHEN 'outside_window' THEN 'a click within ' || CAST(lookback_days AS VARCHAR) || ' days before '
            || CAST(occurred_at AS VARCHAR)
    END AS expected,
    CASE
        WHEN verdict IS NULL OR verdict = 'waiting' THEN NULL
        WHEN verdict IN ('click_of_another_program', 'click_after_sale', 'outside_window')
            THEN 'click ' || click_id || ' of program ' || click_program_id || ' at ' || CAST(clicked_at AS VARCHAR)
        WHEN verdict = 'ambiguous' AND is_ref_mixed THEN 'several references'
        WHEN verdict = 'ambiguous' THEN CAST(doubt_count AS VARCHAR) || ' clicks by ' || doubt_rule
        WHEN click_ref IS NOT NULL THEN 'reference ' || click_ref
        ELSE 'no reference'
    END AS found
FROM said
ORDER BY sale_id
