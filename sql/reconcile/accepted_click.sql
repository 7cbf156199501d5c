-- purpose: the decision about a sale's click that stands, with the click a person accepted.
-- grain: one sale that somebody decided about.
-- reads: decision (those in force), click.
-- key: sale_id.
-- The last word counts. A click that is not among ours cannot be accepted: the rules go on holding.
WITH standing AS (
    SELECT sale_id, kind, click_id
    FROM decision
    WHERE kind IN ('accept_click', 'no_cashback') AND sale_id IS NOT NULL
    QUALIFY ROW_NUMBER() OVER (PARTITION BY sale_id ORDER BY acts_at DESC, decision_id DESC) = 1
)
SELECT s.sale_id, s.kind, c.click_id, c.clicked_at, c.member_id
FROM standing AS s
LEFT JOIN click AS c ON c.click_id = s.click_id
WHERE s.kind = 'no_cashback' OR c.click_id IS NOT NULL
QUALIFY ROW_NUMBER() OVER (PARTITION BY s.sale_id ORDER BY c.clicked_at, c.member_id) = 1
ORDER BY s.sale_id
