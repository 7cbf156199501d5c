-- purpose: the trial balance of a month: each kind of account with what it opened, turned over and closed with.
-- grain: one kind of account and asset.
-- reads: ledger.posting, ledger.account. Runs on PostgreSQL.
-- key: kind, asset.
-- parameters: entity, base_currency, from_on, until_on (both days of booked_on; until_on is not in it).
-- Sums by account number first: names are wide. A debit is positive. Of what has no base amount the base currency itself
-- is its own; the rest is counted, so that a total in base currency says how much it leaves out.
WITH side AS (
    SELECT debit AS account_id, booked_on >= %(from_on)s AS is_this, sum(amount) AS debit, 0 AS credit,
           sum(base_amount) AS base, coalesce(sum(amount) FILTER (WHERE base_amount IS NULL), 0) AS without_base,
           count(*) FILTER (WHERE base_amount IS NULL) AS without_base_count
    FROM ledger.posting
    WHERE entity = %(entity)s AND booked_on < %(until_on)s
    GROUP BY debit, booked_on >= %(from_on)s
    UNION ALL
    SELECT credit AS account_id, booked_on >= %(from_on)s AS is_this, 0 AS debit, sum(amount) AS credit,
           -sum(base_amount) AS base, -coalesce(sum(amount) FILTER (WHERE base_amount IS NULL), 0) AS without_base,
           count(*) FILTER (WHERE base_amount IS NULL) AS without_base_count
    FROM ledger.posting
    WHERE entity = %(entity)s AND booked_on < %(until_on)s
    GROUP BY credit, booked_on >= %(from_on)s
),
named AS (
    SELECT a.kind, a.asset, s.is_this, s.debit, s.credit, s.base, s.without_base, s.without_base_count,
           split_part(a.asset, '/', 1) = %(base_currency)s AS is_base,
           power(10::numeric, split_part(a.asset, '/', 2)::integer) AS unit
    FROM side AS s
    JOIN ledger.account AS a ON a.account_id = s.account_id
)
SELECT kind, asset,
       coalesce(sum(debit - credit) FILTER (WHERE NOT is_this), 0)::bigint AS opening_minor,
       coalesce(sum(debit) FILTER (WHERE is_this), 0)::bigint AS debit_minor,
       coalesce(sum(credit) FILTER (WHERE is_this), 0)::bigint AS credit_minor,
       sum(debit - credit)::bigint AS closing_minor,
       (coalesce(sum(base), 0) + coalesce(sum(without_base / unit) FILTER (WHERE is_base), 0))::numeric(20, 4)
           AS closing_base,
       coalesce(sum(without_base_count) FILTER (WHERE NOT is_base), 0)::bigint AS without_base_count
FROM named
GROUP BY kind, asset
ORDER BY kind COLLATE "C", asset COLLATE "C"
