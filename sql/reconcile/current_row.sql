-- purpose: what holds of each transaction row now, with how it began and whether its last change was a legal one.
-- grain: one transaction row.
-- reads: version, moved_key.
-- key: partner_account, transaction_id, line_id.
-- A correction takes back or states anew, and came later than the rows that make the sale; a discount came with them,
-- however late all of them were processed.
-- Rows of a key that the sale moved to say what it is worth now; what it is, those say that it began with (not is_moved).
-- An absent version does not move what holds: the last word told does, and is_absent says that it is held.
WITH counted AS (
    SELECT v.*,
        LAST_VALUE(is_absent) OVER whole AS is_absent_now,
        LAST_VALUE(observed_at) OVER whole AS last_observed_at,
        FIRST_VALUE(sale_amount) OVER whole AS first_sale_amount,
        FIRST_VALUE(commission_amount) OVER whole AS first_commission_amount
    FROM version AS v
    WINDOW whole AS (
        PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
),
told AS (
    SELECT c.*,
        LAG(status) OVER ordered AS status_before,
        LAG(partner_paid) OVER ordered AS paid_before,
        LAG(version_no) OVER ordered AS version_before
    FROM counted AS c
    WHERE NOT is_absent
    WINDOW ordered AS (PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no)
),
changed AS (
    SELECT partner_account, transaction_id, line_id, status, status_before, partner_paid, paid_before,
        observed_at AS changed_at
    FROM told
    WHERE version_before IS NOT NULL
        AND (status IS DISTINCT FROM status_before OR partner_paid IS DISTINCT FROM paid_before)
    QUALIFY ROW_NUMBER() OVER (PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no DESC) = 1
),
latest AS (
    SELECT t.*, first_sale_amount < 0 OR first_commission_amount < 0 AS is_reduction,
        kind = 'adjustment' AND original_transaction_id IS NOT NULL AS is_named_change
    FROM told AS t
    QUALIFY ROW_NUMBER() OVER (PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no DESC) = 1
),
-- What has no alias of its own moved with the rows of its account that have one.
placed AS (
    SELECT l.partner_account, l.transaction_id, l.line_id,
        COALESCE(k.step_no, MIN(k.step_no) OVER (PARTITION BY l.sale_id, l.partner_account), 0) AS step_no
    FROM latest AS l
    LEFT JOIN moved_key AS k ON k.partner_account = l.partner_account AND k.transaction_id = l.transaction_id
),
made AS (
    SELECT sale_id, MIN(processed_at) AS made_at
    FROM latest
    WHERE NOT is_reduction AND NOT is_named_change
    GROUP BY sale_id
)
SELECT l.partner, l.partner_account, l.transaction_id, l.line_id, l.sale_id, l.kind, l.order_ref, l.partner_program_id,
    l.program_id, l.click_ref, l.partner_clicked_at, l.partner_clicked_precision_seconds, l.occurred_at,
    l.occurred_precision_seconds, l.status, l.partner_paid, l.reason, l.sale_amount, l.commission_amount, l.currency,
    l.commission_group, l.customer_type,
    l.first_sale_amount, l.first_commission_amount,
    l.is_reduction,
    (l.is_reduction OR l.is_named_change)
        AND CASE
            WHEN m.made_at IS NOT NULL THEN COALESCE(l.processed_at >= m.made_at + INTERVAL 1 HOUR, l.kind = 'adjustment')
            ELSE l.kind = 'adjustment' OR COALESCE(l.processed_at >= l.occurred_at + INTERVAL 1 HOUR, FALSE)
        END AS is_correction,
    p.step_no > MIN(p.step_no) OVER (PARTITION BY l.sale_id) AS is_moved,
    l.is_absent_now AS is_absent,
    CASE
        WHEN c.status_before = 'approved' AND c.status = 'pending' THEN 'approved to pending'
        WHEN c.paid_before AND NOT c.partner_paid THEN 'paid to not paid'
        WHEN c.status_before IS NOT NULL AND c.status IS NULL THEN c.status_before || ' to nothing'
    END AS illegal_change,
    CASE WHEN l.is_absent_now THEN l.last_observed_at END AS absent_since, c.changed_at
FROM latest AS l
LEFT JOIN changed AS c
    ON c.partner_account = l.partner_account AND c.transaction_id = l.transaction_id AND c.line_id = l.line_id
LEFT JOIN made AS m ON m.sale_id = l.sale_id
JOIN placed AS p
    ON p.partner_account = l.partner_account AND p.transaction_id = l.transaction_id AND p.line_id = l.line_id
ORDER BY l.partner_account, l.transaction_id, l.line_id
