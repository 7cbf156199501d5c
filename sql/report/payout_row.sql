-- purpose: the payouts of the batches shown, largest first, down to the row of the partner's file each cent comes from.
-- grain: payout, line, transaction row. Reads: report_payout, report_batch, payout.payout_line, report_current_row.
-- Amounts stand on the first row of what they belong to only, so that a column of them adds up.
WITH ranked AS (
    SELECT p.*, b.selected_for,
           row_number() OVER (PARTITION BY p.batch_id ORDER BY p.amount DESC, p.payout_id) AS place,
           count(*) OVER one_batch AS group_count, sum(p.amount) OVER one_batch AS group_amount
    FROM report_payout AS p
    JOIN report_batch AS b USING (batch_id)
    WHERE b.selected_for >= %(from)s OR p.state IN ('reserved', 'in_flight')
    WINDOW one_batch AS (PARTITION BY p.batch_id)
),
shown AS (
    SELECT ranked.*, count(*) OVER (PARTITION BY batch_id) AS shown_count,
           sum(amount) OVER (PARTITION BY batch_id) AS shown_amount
    FROM ranked
    WHERE place <= %(group_limit)s
)
SELECT s.batch_id, s.payout_id, s.member_id, s.state,
       CASE WHEN row_number() OVER one_payout = 1 THEN s.amount END AS amount, s.currency,
       l.document_id,
       CASE WHEN row_number() OVER one_line = 1
            THEN (l.amount_minor / power(10::numeric, s.scale))::numeric(24, 4) END AS line_amount,
       c.transaction_id, c.line_id, c.delivery_id, c.row_number,
       s.group_count - s.shown_count AS left_out_count, s.group_amount - s.shown_amount AS left_out_amount,
       count(*) OVER () AS all_rows
FROM shown AS s
LEFT JOIN payout.payout_line AS l USING (payout_id)
LEFT JOIN report_current_row AS c ON l.document_kind = 'sale' AND c.sale_id = l.document_id
WINDOW one_payout AS (PARTITION BY s.payout_id ORDER BY l.document_kind, l.document_id, c.transaction_id, c.line_id),
       one_line AS (PARTITION BY s.payout_id, l.document_kind, l.document_id ORDER BY c.transaction_id, c.line_id)
ORDER BY s.selected_for, s.batch_id, s.place, s.payout_id, l.document_kind, l.document_id, c.transaction_id, c.line_id
LIMIT %(row_limit)s
