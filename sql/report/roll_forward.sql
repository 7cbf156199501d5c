-- purpose: the roll-forward: what each kind of account opened with, what moved it, and what it closed with.
-- grain: account kind, currency, scale. Reads: report_movement, report_account_kind.
-- The closing is summed from the movements on its own; that opening and steps lead to it is checked by control.sql.
WITH document AS (
    SELECT kind, currency, scale, count(*) AS open_count
    FROM (SELECT kind, currency, scale FROM report_movement
          GROUP BY kind, currency, scale, document_kind, document_id HAVING sum(amount) <> 0) AS o
    GROUP BY kind, currency, scale
),
flow AS (
    SELECT kind, currency, scale,
           coalesce(sum(amount) FILTER (WHERE NOT is_this), 0) AS opening,
           coalesce(sum(amount) FILTER (WHERE is_this AND step = 'new'), 0) AS new,
           coalesce(sum(amount) FILTER (WHERE is_this AND step = 'approved'), 0) AS approved,
           -coalesce(sum(amount) FILTER (WHERE is_this AND step = 'declined'), 0) AS declined,
           -coalesce(sum(amount) FILTER (WHERE is_this AND step = 'paid'), 0) AS paid,
           coalesce(sum(amount) FILTER (WHERE is_this AND step = 'moved'), 0) AS moved,
           coalesce(sum(amount) FILTER (WHERE is_this AND step = 'fx'), 0) AS fx,
           coalesce(sum(amount) FILTER (WHERE is_this AND step = 'rounding'), 0) AS rounding,
           coalesce(sum(amount) FILTER (WHERE is_this AND step = 'other'), 0) AS other,
           sum(amount) AS closing, sum(base) AS base, sum(without_base) AS without_base
    FROM report_movement
    GROUP BY kind, currency, scale
)
SELECT coalesce(a.label, f.kind)
           || CASE WHEN count(*) OVER (PARTITION BY f.kind, f.currency) > 1 THEN ', ' || f.currency || '/' || f.scale
                   ELSE '' END AS label,
       f.kind, coalesce(d.open_count, 0) AS open_count, f.currency, f.opening, f.new, f.approved, f.declined, f.paid,
       f.moved, f.fx, f.rounding, f.other, f.closing, f.closing - f.opening AS change, f.base, f.without_base
FROM flow AS f
LEFT JOIN report_account_kind AS a ON a.kind = f.kind
LEFT JOIN document AS d ON d.kind = f.kind AND d.currency = f.currency AND d.scale = f.scale
ORDER BY coalesce(a.place, 99), f.kind, f.currency, f.scale
