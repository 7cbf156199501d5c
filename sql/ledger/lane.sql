-- purpose: the pairs of accounts that flows move amounts between, by name.
-- grain: one pair of accounts of one asset.
-- reads: flow.
-- key: lane_no; also debit_kind, debit_owner, credit_kind, credit_owner, asset. lane_no is the place in their order.
-- Many flows share few pairs, so that what is long (names, numbers, labels) is dealt with once for each pair.
WITH pair AS (
    SELECT DISTINCT debit_kind, debit_owner, credit_kind, credit_owner, asset FROM flow
)
SELECT CAST(row_number() OVER (ORDER BY debit_kind, debit_owner, credit_kind, credit_owner, asset) AS BIGINT) AS lane_no,
    debit_kind, debit_owner, credit_kind, credit_owner, asset
FROM pair
ORDER BY lane_no
