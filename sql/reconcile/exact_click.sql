-- purpose: the clicks whose id is the reference of a sale, letter for letter.
-- grain: one tracked row of a click.
-- reads: grouped_sale, click.
-- key: click_id, clicked_at, partner, program_id, member_id.
-- Whether the click agrees with the sale is judged in sale_match. Nothing but the reference is asked of the sales here, so
-- that what the clicks are looked up in stays small. Of a click that was tracked twice the smallest row is taken
-- afterwards (click), as it is seldom to be done.
SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
FROM click AS c
SEMI JOIN grouped_sale AS s ON s.click_ref = c.click_id
ORDER BY c.click_id, c.clicked_at, c.partner, c.program_id, c.member_id
