-- purpose: each step of the roll-forward with its documents and base amount, beside the same step of last period.
-- grain: account kind, step, currency. Reads: report_movement, report_account_kind.
-- A document may have several entries of one step; it counts once.
SELECT coalesce(a.label, m.kind) AS label, m.kind, m.step,
       count(DISTINCT (m.document_kind, m.document_id)) FILTER (WHERE m.is_this) AS item_count,
       coalesce(sum(m.amount) FILTER (WHERE m.is_this), 0) AS amount, m.currency,
       coalesce(sum(m.base) FILTER (WHERE m.is_this), 0) AS base,
       coalesce(sum(m.without_base) FILTER (WHERE m.is_this), 0) AS without_base,
       count(DISTINCT (m.document_kind, m.document_id)) FILTER (WHERE m.is_last) AS last_count,
       coalesce(sum(m.amount) FILTER (WHERE m.is_last), 0) AS last_period,
       coalesce(sum(m.amount) FILTER (WHERE m.is_this), 0)
           - coalesce(sum(m.amount) FILTER (WHERE m.is_last), 0) AS change
FROM report_movement AS m
LEFT JOIN report_account_kind AS a ON a.kind = m.kind
WHERE (m.is_this OR m.is_last) AND m.kind <> 'border'
GROUP BY a.place, a.label, m.kind, m.step, m.currency
ORDER BY coalesce(a.place, 99), m.kind, m.currency,
         array_position(ARRAY['new', 'approved', 'declined', 'paid', 'moved', 'fx', 'rounding', 'other'], m.step)
