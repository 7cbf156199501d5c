-- purpose: signed flows as the journal takes them: positive, in the right direction, with their amount in base currency.
-- grain: one flow of one document for one day.
-- reads: signed_flow (the columns of target; of a document and day at most one between two accounts, component and rate).
-- key: document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset, component, rate.
WITH scaled AS (
    SELECT document_id, debit_kind, debit_owner, credit_kind, credit_owner, asset, amount, effective_for, component, rate,
        -- To four digits after the point, which is what base amounts have.
        CASE RIGHT(asset, 1) WHEN '4' THEN 1 WHEN '3' THEN 10 WHEN '2' THEN 100 WHEN '1' THEN 1000 ELSE 10000 END
            AS factor
    FROM signed_flow
)
SELECT document_id,
    CASE WHEN amount > 0 THEN debit_kind ELSE credit_kind END AS debit_kind,
    CASE WHEN amount > 0 THEN debit_owner ELSE credit_owner END AS debit_owner,
    CASE WHEN amount > 0 THEN credit_kind ELSE debit_kind END AS credit_kind,
    CASE WHEN amount > 0 THEN credit_owner ELSE debit_owner END AS credit_owner,
    asset, ABS(amount) AS amount, effective_for, component,
    CAST(
        ROUND(CAST(ABS(amount) * factor AS DECIMAL(19, 0)) * CAST(rate AS DECIMAL(17, 12)), 0) * 0.0001
        AS DECIMAL(20, 4)
    ) AS base_amount,
    rate
FROM scaled
ORDER BY document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset, component, rate
