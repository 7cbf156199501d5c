-- purpose: what is still to be posted: target minus posted, as signed flows.
-- grain: one flow of one document for one day.
-- reads: target, posted (the same columns; amounts signed in both).
-- key: document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset, component, rate.
-- A posting back is the opposite of a posting: both sides are first written with the accounts in one order. What was
-- posted before its rate was known is taken back and posted with it, so that amounts in base currency are whole.
WITH signed AS (
    SELECT document_id, debit_kind, debit_owner, credit_kind, credit_owner, asset, amount, effective_for, component, rate
    FROM target
    UNION ALL
    SELECT document_id, debit_kind, debit_owner, credit_kind, credit_owner, asset, -amount AS amount, effective_for,
        component, rate
    FROM posted
),
ordered AS (
    SELECT document_id, asset, effective_for, component, rate,
        debit_kind > credit_kind OR (debit_kind = credit_kind AND debit_owner > credit_owner) AS is_turned,
        debit_kind, debit_owner, credit_kind, credit_owner, amount
    FROM signed
),
net AS (
    SELECT document_id, asset, effective_for, component, rate,
        CASE WHEN is_turned THEN credit_kind ELSE debit_kind END AS low_kind,
        CASE WHEN is_turned THEN credit_owner ELSE debit_owner END AS low_owner,
        CASE WHEN is_turned THEN debit_kind ELSE credit_kind END AS high_kind,
        CASE WHEN is_turned THEN debit_owner ELSE credit_owner END AS high_owner,
        CAST(SUM(CASE WHEN is_turned THEN -amount ELSE amount END) AS BIGINT) AS amount
    FROM ordered
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
)
SELECT document_id, low_kind AS debit_kind, low_owner AS debit_owner, high_kind AS credit_kind,
    high_owner AS credit_owner, asset, amount, effective_for, component, rate
FROM net
WHERE amount <> 0
ORDER BY document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset, component, rate
