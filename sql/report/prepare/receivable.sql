-- purpose: what is open at partners, sale by sale, with its program and age in days on the closing day.
-- grain: partner_account, currency, document. Reads: report_open_document, report_program_name, ops.sale,
--   ops.remittance_allocation, ops.paid_item, ops.transaction_version.
-- What a remittance paid is taken off the sales it paid for, if its allocations are what it booked until that day; what
-- is left of a sale ages as before. Otherwise the remittance stands for itself.
WITH allocated AS (
    SELECT a.partner_account, a.partner_account || ':' || a.remittance_id AS remittance, a.currency,
           coalesce(i.document_kind, 'sale') AS document_kind,
           coalesce(i.document_id,
                    (SELECT min(v.sale_id) FROM ops.transaction_version AS v
                     WHERE v.partner_account = a.partner_account AND v.transaction_id = a.transaction_id), '') AS sale_id,
           a.amount_minor::numeric * 0.0001 AS amount
    FROM ops.remittance_allocation AS a
    LEFT JOIN ops.paid_item AS i ON i.partner_account = a.partner_account AND i.transaction_id = a.transaction_id
),
booked AS (
    SELECT o.owner, o.currency, o.document_id, o.amount, o.base, o.without_base, o.last_amount
    FROM report_open_document AS o
    WHERE o.kind = 'commission_receivable' AND o.document_kind = 'remittance' AND o.amount <> 0
        AND o.amount = (SELECT -sum(a.amount) FROM allocated AS a
                        WHERE a.remittance = o.document_id AND a.currency = o.currency)
),
-- The bases of a remittance go over its sales as the amounts do; what rounding leaves is the last one's.
shared AS (
    SELECT a.partner_account, a.currency, a.document_kind, a.sale_id, -a.amount AS amount,
           round(b.base * sum(-a.amount) OVER so_far / b.amount, 4)
               - round(b.base * (sum(-a.amount) OVER so_far + a.amount) / b.amount, 4) AS base,
           round(b.without_base * sum(-a.amount) OVER so_far / b.amount, 4)
               - round(b.without_base * (sum(-a.amount) OVER so_far + a.amount) / b.amount, 4) AS without_base,
           round(b.last_amount * sum(-a.amount) OVER so_far / b.amount, 4)
               - round(b.last_amount * (sum(-a.amount) OVER so_far + a.amount) / b.amount, 4) AS last_amount
    FROM (SELECT partner_account, remittance, currency, document_kind, sale_id, sum(amount) AS amount
          FROM allocated
          GROUP BY partner_account, remittance, currency, document_kind, sale_id) AS a
    JOIN booked AS b ON b.document_id = a.remittance AND b.currency = a.currency
    WINDOW so_far AS (PARTITION BY a.remittance, a.currency ORDER BY a.document_kind, a.sale_id)
),
open AS (
    -- What is written off of a sale is taken off that sale.
    SELECT o.owner, o.currency, CASE o.document_kind WHEN 'write_off' THEN 'sale' ELSE o.document_kind END
               AS document_kind, o.document_id, o.amount, o.base, o.without_base, o.last_amount,
           CASE o.document_kind WHEN 'write_off' THEN NULL ELSE o.aged_from END AS aged_from
    FROM report_open_document AS o
    WHERE o.kind = 'commission_receivable'
        AND NOT (o.document_kind = 'remittance'
                 AND EXISTS (SELECT 1 FROM booked AS b WHERE b.document_id = o.document_id AND b.currency = o.currency))
    UNION ALL
    SELECT s.partner_account, s.currency, s.document_kind, s.sale_id, s.amount, s.base, s.without_base, s.last_amount, NULL
    FROM shared AS s
),
netted AS (
    SELECT owner, currency, document_kind, document_id, sum(amount) AS amount, sum(base) AS base,
           sum(without_base) AS without_base, sum(last_amount) AS last_amount,
           coalesce(min(aged_from), %(closing_on)s) AS aged_from
    FROM open
    GROUP BY owner, currency, document_kind, document_id
)
SELECT o.owner AS partner_account, o.currency, o.document_kind, o.document_id,
       CASE WHEN o.document_kind <> 'sale' THEN o.document_kind ELSE coalesce(s.program_id, '') END AS program_id,
       CASE WHEN o.document_kind = 'opening' THEN 'From before the books began (opening)'
            WHEN o.document_kind = 'adjustment' THEN 'Booked by hand (adjustment)'
            WHEN o.document_kind <> 'sale' THEN 'Not yet on a sale (' || o.document_kind || ')'
            ELSE coalesce(n.name, s.program_id, 'Unknown program') END AS program,
       o.amount, o.base, o.without_base, o.last_amount, o.aged_from,
       greatest(%(closing_on)s - o.aged_from, 0) AS age_days
FROM netted AS o
LEFT JOIN ops.sale AS s ON o.document_kind = 'sale' AND s.sale_id = o.document_id
LEFT JOIN report_program_name AS n ON n.program_id = s.program_id
