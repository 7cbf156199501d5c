-- purpose: balances of single accounts as of a pair: until when it is true (or booked), and until when we knew.
-- grain: one account that a posting within the pair touches.
-- reads: ledger.posting, ledger.journal_entry, ledger.account. Runs on PostgreSQL.
-- key: kind, owner, asset.
-- parameters: entity, base_currency, is_booked, as_of (the last day that counts), known_at (null: all), kind, owner (null: all).
-- A debit is positive. Sums by account number first: names are wide.
WITH known AS (
    SELECT p.debit, p.credit, p.amount, p.base_amount
    FROM ledger.posting AS p
    JOIN ledger.journal_entry AS j ON j.entity = p.entity AND j.year = p.year AND j.number = p.number
    WHERE p.entity = %(entity)s
        AND CASE WHEN %(is_booked)s THEN p.booked_on ELSE p.effective_for END <= %(as_of)s
        AND (%(known_at)s::timestamp IS NULL OR j.posted_at <= %(known_at)s::timestamp)
),
side AS (
    SELECT debit AS account_id, sum(amount) AS amount, sum(base_amount) AS base_amount,
           coalesce(sum(amount) FILTER (WHERE base_amount IS NULL), 0) AS without_base
    FROM known
    GROUP BY debit
    UNION ALL
    SELECT credit, -sum(amount), -sum(base_amount), -coalesce(sum(amount) FILTER (WHERE base_amount IS NULL), 0)
    FROM known
    GROUP BY credit
),
named AS (
    SELECT a.kind, a.owner, a.asset, s.amount, s.base_amount, s.without_base,
           split_part(a.asset, '/', 1) = %(base_currency)s AS is_base,
           power(10::numeric, split_part(a.asset, '/', 2)::integer) AS unit
    FROM side AS s
    JOIN ledger.account AS a ON a.account_id = s.account_id
    WHERE (%(kind)s::text IS NULL OR a.kind = %(kind)s::text) AND (%(owner)s::text IS NULL OR a.owner = %(owner)s::text)
)
SELECT kind, owner, asset, sum(amount)::bigint AS balance_minor,
       (coalesce(sum(base_amount), 0) + coalesce(sum(without_base / unit) FILTER (WHERE is_base), 0))::numeric(20, 4)
           AS base_balance,
       coalesce(sum(without_base) FILTER (WHERE NOT is_base), 0)::bigint AS without_base_minor
FROM named
GROUP BY kind, owner, asset
ORDER BY kind COLLATE "C", owner COLLATE "C", asset COLLATE "C"
