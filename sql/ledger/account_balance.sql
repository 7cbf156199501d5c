-- purpose: the balances of all single accounts at the end of a month, as one number to compare.
-- grain: one row.
-- reads: ledger.posting, ledger.account. Runs on PostgreSQL.
-- parameters: entity, until_on (a day of booked_on that is not in it).
WITH side AS (
    SELECT debit AS account_id, sum(amount) AS amount
    FROM ledger.posting
    WHERE entity = %(entity)s AND booked_on < %(until_on)s
    GROUP BY debit
    UNION ALL
    SELECT credit AS account_id, -sum(amount) AS amount
    FROM ledger.posting
    WHERE entity = %(entity)s AND booked_on < %(until_on)s
    GROUP BY credit
),
balance AS (
    SELECT a.kind, a.owner, a.asset, sum(s.amount) AS amount
    FROM side AS s
    JOIN ledger.account AS a ON a.account_id = s.account_id
    GROUP BY a.kind, a.owner, a.asset
    HAVING sum(s.amount) <> 0
),
-- An owner is free text: its length goes before it, so that no two lists of balances share a text.
line AS (
    SELECT concat_ws('|', kind, length(owner) || ':' || owner, asset, amount) AS text FROM balance
)
SELECT count(*) AS account_count,
       encode(sha256(convert_to(coalesce(string_agg(text, E'\n' ORDER BY text COLLATE "C"), ''), 'UTF8')), 'hex')
           AS sha256
FROM line
