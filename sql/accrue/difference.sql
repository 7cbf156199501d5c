-- purpose: what is still to be posted: target minus posted, as positive flows in the right direction.
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
),
scaled AS (
    SELECT n.*,
        -- To four digits after the point, which is what base amounts have.
        CASE RIGHT(asset, 1) WHEN '4' THEN 1 WHEN '3' THEN 10 WHEN '2' THEN 100 WHEN '1' THEN 1000 ELSE 10000 END
            AS factor
    FROM net AS n
)
SELECT document_id,
    CASE WHEN amount > 0 THEN low_kind ELSE high_kind END AS debit_kind,
    CASE WHEN amount > 0 THEN low_owner ELSE high_owner END AS debit_owner,
    CASE WHEN amount > 0 THEN high_kind ELSE low_kind END AS credit_kind,
    CASE WHEN amount > 0 THEN high_owner ELSE low_owner END AS credit_owner,
    asset, ABS(amount) AS amount, effective_for, component,
    CAST(
        ROUND(CAST(ABS(amount) * factor AS DECIMAL(19, 0)) * CAST(rate AS DECIMAL(17, 12)), 0) * 0.0001
        AS DECIMAL(20, 4)
    ) AS base_amount,
    rate
FROM scaled
WHERE amount <> 0
ORDER BY document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset, component, rate
