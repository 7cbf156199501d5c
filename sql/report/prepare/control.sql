-- purpose: the checks that prove the report and the books: each an expected and an actual figure got on different ways.
-- grain, key: place, name, unit. Reads: ledger.*, ops.reject, payout.*, and the tables of this report.
-- The ledger's side is summed from ledger.posting and ledger.account themselves, past every view the report reads.
WITH book AS (
    SELECT a.kind, split_part(a.asset, '/', 1) AS currency, split_part(a.asset, '/', 2)::integer AS scale,
           p.effective_for, p.booked_on < %(until)s AS is_booked,
           s.sign * p.amount / power(10::numeric, split_part(a.asset, '/', 2)::integer) AS amount,
           -- An amount in the base currency is its own base amount.
           s.sign * coalesce(p.base_amount, CASE WHEN split_part(a.asset, '/', 1) = %(base)s
               THEN p.amount / power(10::numeric, split_part(a.asset, '/', 2)::integer) END) AS base
    FROM ledger.posting AS p
    CROSS JOIN LATERAL (VALUES (1, p.debit), (-1, p.credit)) AS s (sign, account_id)
    JOIN ledger.account AS a ON a.account_id = s.account_id
    LEFT JOIN ledger.journal_entry AS j ON j.entity = p.entity AND j.year = p.year AND j.number = p.number
    WHERE a.entity = %(entity)s AND (%(known)s::timestamp IS NULL OR j.posted_at <= %(known)s)
),
closing AS (
    SELECT b.kind, b.currency, b.scale, sum(coalesce(k.side, 1) * b.amount) AS amount, sum(b.amount) AS debit,
           coalesce(sum(coalesce(k.side, 1) * b.base), 0) AS base, max(k.part) AS part
    FROM book AS b
    LEFT JOIN report_account_kind AS k ON k.kind = b.kind
    WHERE b.is_booked
    GROUP BY b.kind, b.currency, b.scale
),
rolled AS (
    SELECT kind, currency, scale,
           coalesce(sum(amount) FILTER (WHERE NOT is_this), 0)
           + coalesce(sum(amount) FILTER (WHERE is_this AND step IN
               ('new', 'approved', 'declined', 'paid', 'moved', 'fx', 'rounding', 'other')), 0) AS amount
    FROM report_movement
    GROUP BY kind, currency, scale
),
parsed AS (
    SELECT coalesce(sum(row_count), 0) AS row_count, coalesce(sum(transaction_count + reject_count), 0) AS accounted,
           coalesce(sum(reject_count), 0) AS rejects,
           coalesce(sum(transaction_count) FILTER (WHERE validation_state IS NOT NULL), 0) AS to_validate,
           coalesce(sum(validated_count), 0) AS validated,
           coalesce(sum(validation_reject_count), 0) AS validation_rejects
    FROM report_newest_parse
),
stored AS (
    SELECT count(DISTINCT (r.delivery_id, r.row_number)) FILTER (WHERE r.stage = 'parse') AS rejects,
           count(DISTINCT (r.delivery_id, r.row_number)) FILTER (WHERE r.stage = 'validate') AS validation_rejects
    FROM ops.reject AS r
    JOIN report_newest_parse USING (delivery_id, parse_version)
),
line AS (
    SELECT payout_id, sum(amount_minor) AS amount_minor FROM payout.payout_line GROUP BY payout_id
),
paid AS (
    SELECT p.payout_id, p.batch_id, p.currency, p.amount, p.state, p.last_event,
           coalesce(l.amount_minor, 0) / power(10::numeric, p.scale) AS line_amount
    FROM report_payout AS p
    LEFT JOIN line AS l USING (payout_id)
),
batch AS (
    SELECT b.batch_id, b.currency, b.payout_count, b.total_minor / power(10::numeric, c.scale) AS total,
           (SELECT count(*) FROM paid WHERE paid.batch_id = b.batch_id AND paid.state <> 'canceled') AS found_count,
           (SELECT coalesce(sum(paid.amount), 0) FROM paid
            WHERE paid.batch_id = b.batch_id AND paid.state <> 'canceled') AS found_total
    FROM report_batch AS b
    JOIN report_currency AS c ON c.currency = b.currency
    WHERE b.entity = %(entity)s AND b.selected_for < %(until)s AND b.state <> 'canceled'
),
numbered AS (
    SELECT j.year, k.highest, count(*) AS entries
    FROM ledger.journal_entry AS j
    JOIN (
        SELECT year, max(number) AS highest
        FROM ledger.journal_entry
        WHERE entity = %(entity)s AND (%(known)s::timestamp IS NULL OR posted_at <= %(known)s)
        GROUP BY year
    ) AS k ON k.year = j.year AND j.number <= k.highest
    WHERE j.entity = %(entity)s
    GROUP BY j.year, k.highest
),
checked (place, name, expected, actual, unit) AS (
    SELECT 10, 'Rows in the partners'' files = transactions + rejects', row_count, accounted, 'rows' FROM parsed
    UNION ALL
    SELECT 11, 'Rejects counted when parsing = rejects listed', p.rejects, s.rejects, 'rows'
    FROM parsed AS p, stored AS s
    UNION ALL
    SELECT 12, 'Transactions parsed = rows validated', to_validate, validated, 'rows' FROM parsed
    UNION ALL
    SELECT 13, 'Rejects counted when validating = rejects listed', p.validation_rejects, s.validation_rejects, 'rows'
    FROM parsed AS p, stored AS s
    UNION ALL
    SELECT 14, 'Sales in the ledger that lead to a row of a partner''s file', count(DISTINCT m.document_id),
           count(DISTINCT c.sale_id), 'sales'
    FROM report_movement AS m
    LEFT JOIN report_current_row AS c ON c.sale_id = m.document_id
    WHERE m.document_kind = 'sale'
    UNION ALL
    SELECT 20, 'Opening + movements = closing in the ledger: ' || coalesce(k.label, c.kind, r.kind) || ', '
               || coalesce(c.currency, r.currency) || '/' || coalesce(c.scale, r.scale),
           coalesce(c.amount, 0), coalesce(r.amount, 0), coalesce(c.currency, r.currency)
    FROM closing AS c
    FULL JOIN rolled AS r ON r.kind = c.kind AND r.currency = c.currency AND r.scale = c.scale
    LEFT JOIN report_account_kind AS k ON k.kind = coalesce(c.kind, r.kind)
    UNION ALL
    SELECT 30, 'Receivables, all ages = ledger', c.amount,
           (SELECT coalesce(sum(r.amount), 0) FROM report_receivable AS r WHERE r.currency = c.currency), c.currency
    FROM closing AS c
    WHERE c.kind = 'commission_receivable'
    UNION ALL
    SELECT 31, 'Member liability, credit less debit balances = ledger', sum(c.amount),
           (SELECT coalesce(sum(l.amount), 0) FROM report_liability AS l WHERE l.currency = c.currency), c.currency
    FROM closing AS c
    WHERE c.part = 'members'
    GROUP BY c.currency
    UNION ALL
    SELECT 32, 'Member liability, all ages = ledger', sum(c.amount),
           (SELECT coalesce(sum(sign(l.amount) * (l.age_30 + l.age_60 + l.age_90 + l.age_180 + l.age_more)), 0)
            FROM report_liability AS l WHERE l.currency = c.currency), c.currency
    FROM closing AS c
    WHERE c.part = 'members'
    GROUP BY c.currency
    UNION ALL
    SELECT 33, 'Receivables in ' || c.currency || ', in base currency = ledger', c.base,
           (SELECT coalesce(sum(r.base), 0) FROM report_receivable AS r WHERE r.currency = c.currency), %(base)s
    FROM closing AS c
    WHERE c.kind = 'commission_receivable'
    UNION ALL
    SELECT 34, 'Member liability in ' || c.currency || ', in base currency = ledger', sum(c.base),
           (SELECT coalesce(sum(l.base), 0) FROM report_liability AS l WHERE l.currency = c.currency), %(base)s
    FROM closing AS c
    WHERE c.part = 'members'
    GROUP BY c.currency
    UNION ALL
    SELECT 40, 'Border: what left one asset arrived in the other', 0,
           coalesce(sum(debit) FILTER (WHERE kind = 'border'), 0), currency
    FROM closing
    GROUP BY currency
    UNION ALL
    SELECT 41, 'All accounts of ' || currency || '/' || scale || ' add up to zero', 0, sum(debit), currency
    FROM closing
    GROUP BY currency, scale
    UNION ALL
    SELECT 42, 'Postings between accounts of two assets or entities', 0,
           count(*) FILTER (WHERE d.asset IS DISTINCT FROM c.asset OR d.entity IS DISTINCT FROM p.entity
                            OR c.entity IS DISTINCT FROM p.entity), 'postings'
    FROM ledger.posting AS p
    LEFT JOIN ledger.account AS d ON d.account_id = p.debit
    LEFT JOIN ledger.account AS c ON c.account_id = p.credit
    WHERE p.entity = %(entity)s
    UNION ALL
    SELECT 43, 'Postings with a journal entry of the same day', count(*),
           count(*) FILTER (WHERE j.booked_on = p.booked_on), 'postings'
    FROM ledger.posting AS p
    LEFT JOIN ledger.journal_entry AS j
        ON j.entity = p.entity AND j.year = p.year AND j.number = p.number
        AND j.document_kind = p.document_kind AND j.document_id = p.document_id AND j.entry_no = p.entry_no
    WHERE p.entity = %(entity)s
        AND (%(known)s::timestamp IS NULL OR j.posted_at IS NULL OR j.posted_at <= %(known)s)
    UNION ALL
    SELECT 44, 'Journal entries of ' || year || ' are numbered without a gap', highest, entries, 'entries' FROM numbered
    UNION ALL
    SELECT 50, 'Payouts = their lines', sum(amount), sum(line_amount), currency FROM paid GROUP BY currency
    UNION ALL
    SELECT 51, 'Payouts that differ from their lines', 0, count(*) FILTER (WHERE amount <> line_amount), 'payouts'
    FROM paid
    UNION ALL
    SELECT 52, 'Batch totals = their payouts', sum(total), sum(found_total), currency FROM batch GROUP BY currency
    UNION ALL
    SELECT 53, 'Payouts that batches count = payouts found', coalesce(sum(payout_count), 0),
           coalesce(sum(found_count), 0), 'payouts'
    FROM batch
    UNION ALL
    SELECT 54, 'Payouts ' || e.words || ' = ledger',
           (SELECT coalesce(-sum(b.amount), 0) FROM book AS b
            WHERE b.kind = e.kind AND b.currency = u.currency AND b.effective_for < %(until)s),
           (SELECT coalesce(sum(p.amount), 0) FROM paid AS p WHERE p.currency = u.currency AND p.last_event = e.event),
           u.currency
    FROM (SELECT currency FROM paid
          UNION SELECT currency FROM closing WHERE kind IN ('payout_reserved', 'payout_in_flight')) AS u
    CROSS JOIN (VALUES ('payout_reserved', 'reserved', 'reserved'),
                       ('payout_in_flight', 'transmitted', 'in flight')) AS e (kind, event, words)
)
SELECT place, name, expected::numeric(28, 4) AS expected, actual::numeric(28, 4) AS actual,
       (actual - expected)::numeric(28, 4) AS difference, unit, actual = expected AS is_equal
FROM checked
