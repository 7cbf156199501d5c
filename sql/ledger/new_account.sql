-- purpose: the accounts that flows name and that do not exist yet.
-- grain: one account of the entity.
-- reads: lane, account.
-- key: kind, owner, asset.
WITH named AS (
    SELECT debit_kind AS kind, debit_owner AS owner, asset FROM lane
    UNION
    SELECT credit_kind AS kind, credit_owner AS owner, asset FROM lane
)
SELECT n.kind, n.owner, n.asset
FROM named AS n
ANTI JOIN account AS a ON a.kind = n.kind AND a.owner = n.owner AND a.asset = n.asset
ORDER BY n.asset, n.kind, n.owner
