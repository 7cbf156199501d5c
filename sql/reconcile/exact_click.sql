-- purpose: the click whose id a sale's reference is, letter for letter, and how far it agrees with the sale.
-- grain: one sale whose reference is a click's id.
-- reads: grouped_sale, click, program.
-- key: sale_id.
-- The program agrees if the click's was, at the click or at the sale, what the partner's program number meant.
WITH found AS (
    SELECT s.sale_id, s.partner, s.partner_program_id, s.told_program_id, s.occurred_at, s.program_id AS sale_program_id,
        c.click_id, c.partner AS click_partner, c.program_id, c.member_id, c.clicked_at
    FROM click AS c
    JOIN grouped_sale AS s ON s.click_ref = c.click_id
    WHERE NOT s.is_ref_mixed
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY s.sale_id ORDER BY c.clicked_at, c.partner, c.program_id, c.member_id
    ) = 1
),
agreed AS (
    SELECT f.sale_id, p.program_id, p.merchant_id, p.currency, p.commission_rate, p.lookback_days, p.validation_days
    FROM found AS f
    JOIN program AS p
        ON p.program_id = f.program_id AND p.partner = f.partner AND p.partner_program_id = f.partner_program_id
        AND (f.told_program_id IS NULL OR f.told_program_id = p.program_id)
    WHERE f.click_partner = f.partner
        AND ((p.valid_from <= f.clicked_at AND (p.valid_until IS NULL OR f.clicked_at < p.valid_until))
            OR (p.valid_from <= f.occurred_at AND (p.valid_until IS NULL OR f.occurred_at < p.valid_until)))
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY f.sale_id
        ORDER BY CASE WHEN p.valid_from <= f.clicked_at AND (p.valid_until IS NULL OR f.clicked_at < p.valid_until)
            THEN 0 ELSE 1 END, p.valid_from DESC
    ) = 1
)
SELECT f.sale_id, f.click_id, f.program_id AS click_program_id, f.member_id, f.clicked_at,
    a.sale_id IS NOT NULL AS is_program_agreed, a.merchant_id, a.currency AS program_currency, a.commission_rate,
    a.lookback_days, a.validation_days
FROM found AS f
LEFT JOIN agreed AS a ON a.sale_id = f.sale_id
ORDER BY f.sale_id
