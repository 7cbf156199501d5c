-- purpose: balances in other currencies than the base at the end of a month, with what of them carries a base amount.
-- grain: one kind of account, currency, and of some kinds owner.
-- reads: ledger.posting, ledger.account. Runs on PostgreSQL.
-- key: kind, owner, currency.
-- parameters: entity, base_currency, until_on (a day of booked_on that is not in it), kinds, by_owner (kinds).
-- Priced is what sales, openings, adjustments and write-offs moved and recorded a base amount for. Remittances and payouts take away
-- what was there before; the difference to the rate of their day is no matter of this one.
WITH account AS (
    SELECT account_id, kind, CASE WHEN kind = ANY(%(by_owner)s::text[]) THEN owner ELSE '' END AS owner,
           split_part(asset, '/', 1) AS currency, power(10::numeric, split_part(asset, '/', 2)::integer) AS unit
    FROM ledger.account
    WHERE entity = %(entity)s AND kind = ANY(%(kinds)s::text[]) AND split_part(asset, '/', 1) <> %(base_currency)s
),
side AS (
    SELECT p.debit AS account_id, p.amount, p.base_amount,
           p.document_kind IN ('sale', 'opening', 'adjustment', 'write_off') AND p.base_amount IS NOT NULL AS is_priced
    FROM ledger.posting AS p
    WHERE p.entity = %(entity)s AND p.booked_on < %(until_on)s
        AND p.debit IN (SELECT account_id FROM account)
    UNION ALL
    SELECT p.credit, -p.amount, -p.base_amount,
           p.document_kind IN ('sale', 'opening', 'adjustment', 'write_off') AND p.base_amount IS NOT NULL
    FROM ledger.posting AS p
    WHERE p.entity = %(entity)s AND p.booked_on < %(until_on)s
        AND p.credit IN (SELECT account_id FROM account)
)
SELECT a.kind, a.owner, a.currency, sum(s.amount / a.unit)::numeric(28, 4) AS balance,
       coalesce(sum(s.amount / a.unit) FILTER (WHERE s.is_priced), 0)::numeric(28, 4) AS priced,
       coalesce(sum(s.base_amount) FILTER (WHERE s.is_priced), 0)::numeric(28, 4) AS priced_base
FROM side AS s
JOIN account AS a ON a.account_id = s.account_id
GROUP BY a.kind, a.owner, a.currency
HAVING sum(s.amount) <> 0
ORDER BY a.kind COLLATE "C", a.owner COLLATE "C", a.currency
