-- purpose: the transaction rows of a file as rows that hold now, for `tallyback match`, which knows no deliveries.
-- grain: one transaction row; of a key that comes twice the one changed last.
-- reads: transaction_row.
-- key: partner_account, transaction_id, line_id.
-- The reversal model is read off the rows: a row that names its original belongs to it; a negative row that names none
-- belongs to the sale of its program and order, if there is one.
-- The group of one text is half as dear as that of three.
WITH repeated AS (
    SELECT transaction_id FROM transaction_row GROUP BY transaction_id HAVING COUNT(*) > 1
),
twice AS (
    SELECT partner_account, transaction_id, line_id
    FROM transaction_row AS t
    SEMI JOIN repeated AS r ON r.transaction_id = t.transaction_id
    GROUP BY partner_account, t.transaction_id, line_id
    HAVING COUNT(*) > 1
),
newest AS (
    SELECT t.*
    FROM transaction_row AS t
    SEMI JOIN twice AS w
        ON w.partner_account = t.partner_account AND w.transaction_id = t.transaction_id AND w.line_id = t.line_id
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY t.partner_account, t.transaction_id, t.line_id
        ORDER BY coalesce(modified_at, processed_at, occurred_at) DESC, delivery_id DESC, row_number DESC, content_hash
    ) = 1
),
-- Few keys come twice: only they are put in order.
latest AS NOT MATERIALIZED (
    SELECT partner, partner_account, transaction_id, line_id, kind, original_transaction_id, order_ref,
        partner_program_id, program_id, click_ref, partner_clicked_at, partner_clicked_precision_seconds, occurred_at,
        occurred_precision_seconds, processed_at, status, reason, sale_amount, commission_amount, currency,
        sale_amount < 0 OR commission_amount < 0 AS is_reduction,
        kind = 'adjustment' AND original_transaction_id IS NOT NULL AS is_named_change
    FROM (
        SELECT t.* FROM transaction_row AS t
        ANTI JOIN twice AS w
            ON w.partner_account = t.partner_account AND w.transaction_id = t.transaction_id AND w.line_id = t.line_id
        UNION ALL
        SELECT n.* FROM newest AS n
    ) AS u
),
-- The sales that a negative row without an original may belong to.
ordered AS MATERIALIZED (
    SELECT partner_account, partner_program_id, order_ref, min(transaction_id) AS transaction_id
    FROM latest AS t
    WHERE NOT is_reduction AND order_ref IS NOT NULL
        AND EXISTS (
            SELECT 1 FROM latest AS r
            WHERE r.is_reduction AND r.original_transaction_id IS NULL
                AND r.partner_account = t.partner_account AND r.order_ref = t.order_ref
        )
    GROUP BY partner_account, partner_program_id, order_ref
),
named AS NOT MATERIALIZED (
    SELECT l.*,
        l.partner_account || ':' || CASE
            WHEN l.original_transaction_id IS NOT NULL THEN l.original_transaction_id
            WHEN o.order_ref IS NOT NULL THEN coalesce(o.partner_program_id, '') || '/' || o.order_ref
            ELSE l.transaction_id
        END AS sale_id
    FROM latest AS l
    LEFT JOIN ordered AS o
        ON o.partner_account = l.partner_account AND o.order_ref = l.order_ref
        AND o.partner_program_id IS NOT DISTINCT FROM l.partner_program_id
),
-- What takes back or states anew is a correction if it came later than the rows that make the sale; see current_row.
made AS (
    SELECT sale_id, min(processed_at) AS made_at
    FROM named
    WHERE NOT is_reduction AND NOT is_named_change
        AND sale_id IN (SELECT sale_id FROM named WHERE is_reduction OR is_named_change)
    GROUP BY sale_id
)
SELECT l.partner, l.partner_account, l.transaction_id, l.line_id, l.sale_id,
    l.kind, l.order_ref, l.partner_program_id, l.program_id, l.click_ref, l.partner_clicked_at,
    l.partner_clicked_precision_seconds, l.occurred_at, l.occurred_precision_seconds, l.status, l.reason,
    l.sale_amount, l.commission_amount, l.currency, CAST(NULL AS VARCHAR) AS commission_group,
    CAST(NULL AS VARCHAR) AS customer_type, l.sale_amount AS first_sale_amount, l.is_reduction,
    (l.is_reduction OR l.is_named_change) AND CASE
        WHEN m.made_at IS NOT NULL THEN coalesce(l.processed_at >= m.made_at + INTERVAL 1 HOUR, l.kind = 'adjustment')
        ELSE l.kind = 'adjustment' OR coalesce(l.processed_at >= l.occurred_at + INTERVAL 1 HOUR, FALSE)
    END AS is_correction,
    FALSE AS is_moved, FALSE AS is_absent, CAST(NULL AS VARCHAR) AS illegal_change, CAST(NULL AS TIMESTAMP) AS absent_since,
    CAST(NULL AS TIMESTAMP) AS changed_at
FROM named AS l
LEFT JOIN made AS m ON m.sale_id = l.sale_id
ORDER BY l.partner_account, l.transaction_id, l.line_id
