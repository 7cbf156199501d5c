-- purpose: the sales behind the receivables, largest first, with every row a partner reported for them.
-- grain: document, transaction row (a document without rows has one line).
-- Reads: report_receivable, report_current_row.
-- The open amount stands on the first row of a sale only, so that a column of it adds up.
WITH ranked AS (
    SELECT r.*, row_number() OVER one_program AS place,
           count(*) OVER (PARTITION BY partner_account, currency, program_id) AS group_count,
           sum(amount) OVER (PARTITION BY partner_account, currency, program_id) AS group_amount
    FROM report_receivable AS r
    WHERE amount <> 0
    WINDOW one_program AS (PARTITION BY partner_account, currency, program_id
                           ORDER BY abs(amount) DESC, document_kind, document_id)
),
shown AS (
    SELECT ranked.*, sum(amount) OVER (PARTITION BY partner_account, currency, program_id) AS shown_amount,
           count(*) OVER (PARTITION BY partner_account, currency, program_id) AS shown_count
    FROM ranked
    WHERE place <= %(group_limit)s
)
SELECT s.partner_account, s.program, s.program_id, s.document_id,
       CASE WHEN row_number() OVER one_sale = 1 THEN s.amount END AS amount, s.currency,
       CASE WHEN row_number() OVER one_sale = 1 THEN s.base END AS base,
       s.aged_from, s.age_days, c.transaction_id, c.line_id, c.status, c.commission_amount,
       c.delivery_id, c.row_number, s.group_count - s.shown_count AS left_out_count,
       s.group_amount - s.shown_amount AS left_out_amount, count(*) OVER () AS all_rows
FROM shown AS s
LEFT JOIN report_current_row AS c ON s.document_kind = 'sale' AND c.sale_id = s.document_id
WINDOW one_sale AS (PARTITION BY s.document_kind, s.document_id, s.partner_account, s.currency
                    ORDER BY c.transaction_id, c.line_id)
ORDER BY s.partner_account, s.currency, s.program_id, s.place, s.document_id, c.transaction_id, c.line_id
LIMIT %(row_limit)s
