-- purpose: the decision about a sale's click that stands, with the click a person accepted.
-- grain: one sale that somebody decided about.
-- reads: decision, click.
-- key: sale_id.
-- The last word counts. A click that is not among ours cannot be accepted: the rules go on holding.
WITH standing AS (
    SELECT d.decision_id, d.sale_id, d.kind, d.click_id, d.decided_at
    FROM decision AS d
    WHERE d.kind IN ('accept_click', 'no_cashback')
        AND NOT EXISTS (
            SELECT 1 FROM decision AS u
            WHERE u.kind = 'undo' AND u.undoes = d.decision_id
                AND NOT EXISTS (SELECT 1 FROM decision AS w WHERE w.kind = 'undo' AND w.undoes = u.decision_id)
        )
    QUALIFY ROW_NUMBER() OVER (PARTITION BY d.sale_id ORDER BY d.decided_at DESC, d.decision_id DESC) = 1
)
SELECT s.sale_id, s.kind, c.click_id, c.clicked_at, c.member_id
FROM standing AS s
LEFT JOIN click AS c ON c.click_id = s.click_id
WHERE s.kind = 'no_cashback' OR c.click_id IS NOT NULL
QUALIFY ROW_NUMBER() OVER (PARTITION BY s.sale_id ORDER BY c.clicked_at, c.member_id) = 1
ORDER BY s.sale_id
