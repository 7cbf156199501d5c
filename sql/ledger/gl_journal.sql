-- purpose: a month as the general ledger wants it: per day, account of the general ledger and currency one line.
-- grain: one day, currency, general ledger account, and whether its postings carry an amount in the base currency.
-- reads: ledger.posting, ledger.account, ledger.journal_entry; the map comes in three lists. Runs on PostgreSQL.
-- key: booked_on, currency, gl_account, is_base_known.
-- parameters: entity, base_currency, from_on, until_on, kinds, gl_accounts, statements.
-- A posting with a memorandum side is left out whole: each posting balances by itself, so what is left still does.
-- Postings without a base amount make lines of their own, so that the lines with one balance in it.
WITH map AS (
    SELECT m.kind, m.gl_account, m.statement
    FROM unnest(%(kinds)s::text[], %(gl_accounts)s::text[], %(statements)s::text[]) AS m (kind, gl_account, statement)
),
line AS (
    SELECT p.booked_on, d.kind AS debit_kind, c.kind AS credit_kind, md.gl_account AS debit_account,
           mc.gl_account AS credit_account, split_part(d.asset, '/', 1) AS currency,
           p.amount / power(10::numeric, split_part(d.asset, '/', 2)::integer) AS amount, p.base_amount, j.number
    FROM ledger.posting AS p
    JOIN ledger.account AS d ON d.account_id = p.debit
    JOIN ledger.account AS c ON c.account_id = p.credit
    JOIN ledger.journal_entry AS j ON j.entity = p.entity AND j.year = p.year AND j.number = p.number
    JOIN map AS md ON md.kind = d.kind AND md.statement <> 'memorandum'
    JOIN map AS mc ON mc.kind = c.kind AND mc.statement <> 'memorandum'
    WHERE p.entity = %(entity)s AND p.booked_on >= %(from_on)s AND p.booked_on < %(until_on)s
),
valued AS (
    SELECT line.booked_on, line.debit_kind, line.credit_kind, line.debit_account, line.credit_account, line.currency,
           line.amount, line.number,
           coalesce(base_amount, CASE WHEN currency = %(base_currency)s THEN amount END) AS base_amount
    FROM line
),
side AS (
    SELECT booked_on, currency, debit_account AS gl_account, debit_kind AS kind, number, amount AS debit,
           0::numeric AS credit, base_amount AS base_debit, 0::numeric AS base_credit,
           base_amount IS NOT NULL AS is_base_known
    FROM valued
    UNION ALL
    SELECT booked_on, currency, credit_account, credit_kind, number, 0, amount, 0, base_amount,
           base_amount IS NOT NULL
    FROM valued
)
SELECT booked_on, currency, gl_account, is_base_known,
       sum(debit)::numeric(24, 4) AS debit, sum(credit)::numeric(24, 4) AS credit,
       CASE WHEN is_base_known THEN sum(base_debit)::numeric(24, 4) END AS base_debit,
       CASE WHEN is_base_known THEN sum(base_credit)::numeric(24, 4) END AS base_credit,
       string_agg(DISTINCT kind, ' ' ORDER BY kind) AS kinds, min(number) AS first_entry, max(number) AS last_entry
FROM side
GROUP BY booked_on, currency, gl_account, is_base_known
ORDER BY booked_on, currency, gl_account COLLATE "C", is_base_known DESC
