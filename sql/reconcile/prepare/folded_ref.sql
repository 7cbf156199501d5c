-- purpose: click references as a partner may have bent them, brought back to one form; DuckDB alone (URL decoding).
-- grain: one reference that is nobody's click as it stands.
-- reads: grouped_sale, exact_click.
-- key: click_ref.
-- A blank inside is a plus that somebody's form decoding ate. What does not decode keeps its bytes. Where nothing is left
-- of a reference, ref_folded is null.
WITH residue AS (
    SELECT DISTINCT s.click_ref
    FROM grouped_sale AS s
    ANTI JOIN exact_click AS e ON e.click_id = s.click_ref
    WHERE s.click_ref IS NOT NULL
),
folded AS (
    SELECT click_ref,
        nullif(lower(replace(trim(coalesce(TRY(url_decode(trim(click_ref))), click_ref)), ' ', '+')), '') AS ref_folded
    FROM residue
)
SELECT click_ref, ref_folded, CAST(length(ref_folded) AS INTEGER) AS ref_length
FROM folded
ORDER BY click_ref
