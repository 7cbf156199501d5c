-- purpose: what holds of each transaction row now, with how it began and whether its last change was a legal one.
-- grain: one transaction row.
-- reads: version, moved_key.
-- key: partner_account, transaction_id, line_id.
-- A correction takes back or states anew, and came later than the rows that make the sale; a discount came with them,
-- however late all of them were processed.
-- Rows of a key that the sale moved to say what it is worth now; what it is, those say that it began with (not is_moved).
-- An absent version does not move what holds: the last word told does, and is_absent says that it is held.
-- Most rows have one version: what asks for more (how it began, what changed, moves) is joined to the few that have them,
-- and no window moves whole rows.
WITH several AS (
    SELECT DISTINCT partner_account, transaction_id, line_id FROM version WHERE version_no > 1 OR is_absent
),
counted AS (
    SELECT v.partner_account, v.transaction_id, v.line_id, MIN(v.version_no) AS first_no, MAX(v.version_no) AS last_no,
        MAX(v.version_no) FILTER (WHERE NOT v.is_absent) AS told_no,
        COUNT(*) FILTER (WHERE NOT v.is_absent) AS told_count
    FROM version AS v
    SEMI JOIN several AS s
        ON s.partner_account = v.partner_account AND s.transaction_id = v.transaction_id AND s.line_id = v.line_id
    GROUP BY v.partner_account, v.transaction_id, v.line_id
),
begun AS (
    SELECT v.partner_account, v.transaction_id, v.line_id, v.sale_amount, v.commission_amount
    FROM version AS v
    JOIN counted AS n
        ON n.partner_account = v.partner_account AND n.transaction_id = v.transaction_id AND n.line_id = v.line_id
    WHERE v.version_no = n.first_no AND n.first_no < n.told_no
),
absent AS (
    SELECT v.partner_account, v.transaction_id, v.line_id, v.observed_at
    FROM version AS v
    JOIN counted AS n
        ON n.partner_account = v.partner_account AND n.transaction_id = v.transaction_id AND n.line_id = v.line_id
    WHERE v.version_no = n.last_no AND n.last_no > n.told_no
),
stepped AS (
    SELECT v.partner_account, v.transaction_id, v.line_id, v.version_no, v.status, v.partner_paid, v.observed_at,
        LAG(v.status) OVER ordered AS status_before,
        LAG(v.partner_paid) OVER ordered AS paid_before,
        LAG(v.version_no) OVER ordered AS version_before
    FROM version AS v
    JOIN counted AS n
        ON n.partner_account = v.partner_account AND n.transaction_id = v.transaction_id AND n.line_id = v.line_id
    WHERE n.told_count > 1 AND NOT v.is_absent
    WINDOW ordered AS (PARTITION BY v.partner_account, v.transaction_id, v.line_id ORDER BY v.version_no)
),
changed AS (
    SELECT partner_account, transaction_id, line_id, status, status_before, partner_paid, paid_before,
        observed_at AS changed_at
    FROM stepped
    WHERE version_before IS NOT NULL
        AND (status IS DISTINCT FROM status_before OR partner_paid IS DISTINCT FROM paid_before)
    QUALIFY ROW_NUMBER() OVER (PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no DESC) = 1
),
latest AS (
    SELECT v.partner, v.partner_account, v.transaction_id, v.line_id, v.sale_id, v.kind, v.order_ref,
        v.partner_program_id, v.program_id, v.click_ref, v.partner_clicked_at, v.partner_clicked_precision_seconds,
        v.occurred_at, v.occurred_precision_seconds, v.processed_at, v.status, v.reason, v.sale_amount,
        v.commission_amount, v.currency, v.commission_group, v.customer_type,
        COALESCE(b.sale_amount, v.sale_amount) AS first_sale_amount,
        COALESCE(b.sale_amount, v.sale_amount) < 0 OR COALESCE(b.commission_amount, v.commission_amount) < 0
            AS is_reduction,
        v.kind = 'adjustment' AND v.original_transaction_id IS NOT NULL AS is_named_change,
        a.observed_at AS absent_since
    FROM version AS v
    LEFT JOIN counted AS n
        ON n.partner_account = v.partner_account AND n.transaction_id = v.transaction_id AND n.line_id = v.line_id
    LEFT JOIN begun AS b
        ON b.partner_account = v.partner_account AND b.transaction_id = v.transaction_id AND b.line_id = v.line_id
    LEFT JOIN absent AS a
        ON a.partner_account = v.partner_account AND a.transaction_id = v.transaction_id AND a.line_id = v.line_id
    -- Of those that are not counted there is but one.
    WHERE n.first_no IS NULL OR v.version_no = n.told_no
),
-- Of sales that moved. What has no alias of its own moved with the rows of its account that have one.
moved_account AS (
    SELECT l.sale_id, l.partner_account, MIN(k.step_no) AS step_no
    FROM latest AS l
    JOIN moved_key AS k ON k.partner_account = l.partner_account AND k.transaction_id = l.transaction_id
    GROUP BY l.sale_id, l.partner_account
),
placed AS (
    SELECT l.partner_account, l.transaction_id, l.line_id, l.sale_id, COALESCE(k.step_no, c.step_no, 0) AS step_no
    FROM latest AS l
    SEMI JOIN moved_account AS m ON m.sale_id = l.sale_id
    LEFT JOIN moved_key AS k ON k.partner_account = l.partner_account AND k.transaction_id = l.transaction_id
    LEFT JOIN moved_account AS c ON c.sale_id = l.sale_id AND c.partner_account = l.partner_account
),
moved AS (
    SELECT partner_account, transaction_id, line_id,
        step_no > MIN(step_no) OVER (PARTITION BY sale_id) AS is_moved
    FROM placed
),
-- Asked of what may be a correction alone.
made AS (
    SELECT l.sale_id, MIN(l.processed_at) AS made_at
    FROM latest AS l
    SEMI JOIN (SELECT DISTINCT sale_id FROM latest WHERE is_reduction OR is_named_change) AS r ON r.sale_id = l.sale_id
    WHERE NOT l.is_reduction AND NOT l.is_named_change
    GROUP BY l.sale_id
)
SELECT l.partner, l.partner_account, l.transaction_id, l.line_id, l.sale_id, l.kind, l.order_ref, l.partner_program_id,
    l.program_id, l.click_ref, l.partner_clicked_at, l.partner_clicked_precision_seconds, l.occurred_at,
    l.occurred_precision_seconds, l.status, l.reason, l.sale_amount, l.commission_amount, l.currency,
    l.commission_group, l.customer_type, l.first_sale_amount, l.is_reduction,
    (l.is_reduction OR l.is_named_change)
        AND CASE
            WHEN m.made_at IS NOT NULL THEN COALESCE(l.processed_at >= m.made_at + INTERVAL 1 HOUR, l.kind = 'adjustment')
            ELSE l.kind = 'adjustment' OR COALESCE(l.processed_at >= l.occurred_at + INTERVAL 1 HOUR, FALSE)
        END AS is_correction,
    COALESCE(p.is_moved, FALSE) AS is_moved,
    l.absent_since IS NOT NULL AS is_absent,
    CASE
        WHEN c.status_before = 'approved' AND c.status = 'pending' THEN 'approved to pending'
        WHEN c.paid_before AND NOT c.partner_paid THEN 'paid to not paid'
        WHEN c.status_before IS NOT NULL AND c.status IS NULL THEN c.status_before || ' to nothing'
    END AS illegal_change,
    l.absent_since, c.changed_at
FROM latest AS l
LEFT JOIN changed AS c
    ON c.partner_account = l.partner_account AND c.transaction_id = l.transaction_id AND c.line_id = l.line_id
LEFT JOIN made AS m ON m.sale_id = l.sale_id
LEFT JOIN moved AS p
    ON p.partner_account = l.partner_account AND p.transaction_id = l.transaction_id AND p.line_id = l.line_id
ORDER BY l.partner_account, l.transaction_id, l.line_id
