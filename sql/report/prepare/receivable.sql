-- purpose: what is open at partners, sale by sale, with its program and age in days on the closing day.
-- grain: partner_account, currency, document. Reads: report_open_document, report_program_name, ops.sale.
SELECT o.owner AS partner_account, o.currency, o.document_kind, o.document_id,
       CASE WHEN o.document_kind <> 'sale' THEN o.document_kind ELSE coalesce(s.program_id, '') END AS program_id,
       CASE WHEN o.document_kind <> 'sale' THEN 'Not yet on a sale (' || o.document_kind || ')'
            ELSE coalesce(n.name, s.program_id, 'Unknown program') END AS program,
       o.amount, o.base, o.without_base, o.last_amount, o.aged_from,
       greatest(%(closing_on)s - o.aged_from, 0) AS age_days
FROM report_open_document AS o
LEFT JOIN ops.sale AS s ON o.document_kind = 'sale' AND s.sale_id = o.document_id
LEFT JOIN report_program_name AS n ON n.program_id = s.program_id
WHERE o.kind = 'commission_receivable'
