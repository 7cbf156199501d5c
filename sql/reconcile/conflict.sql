-- purpose: rows that one delivery tells twice for the same instant, with different content.
-- grain: one transaction row whose newest word is such a contradiction.
-- reads: observation.
-- key: partner_account, transaction_id, line_id.
-- A contradiction that a later word has settled is no longer one; none of its rows ever becomes a version. They are few,
-- and so are keys that are told more than once: the rest is asked of these alone.
WITH retold AS (
    SELECT partner_account, transaction_id, line_id
    FROM observation
    GROUP BY partner_account, transaction_id, line_id
    HAVING COUNT(*) > 1
),
contradicted AS (
    SELECT o.partner_account, o.transaction_id, o.line_id
    FROM observation AS o
    SEMI JOIN retold AS r
        ON r.partner_account = o.partner_account AND r.transaction_id = o.transaction_id AND r.line_id = o.line_id
    GROUP BY o.partner_account, o.transaction_id, o.line_id, o.clock_at, o.observed_at, o.delivery_id
    HAVING MIN(o.content_hash) <> MAX(o.content_hash)
),
moment AS (
    SELECT o.partner, o.partner_account, o.transaction_id, o.line_id, o.clock_at, o.observed_at, o.delivery_id,
        COUNT(DISTINCT o.content_hash) AS content_count,
        MIN(o.sale_amount) AS smallest_amount, MAX(o.sale_amount) AS largest_amount,
        MIN(o.commission_amount) AS smallest_commission, MAX(o.commission_amount) AS largest_commission,
        MIN(o.content_hash) AS smallest_hash, MAX(o.content_hash) AS largest_hash,
        MAX(o.row_number) AS last_row
    FROM observation AS o
    SEMI JOIN contradicted AS c
        ON c.partner_account = o.partner_account AND c.transaction_id = o.transaction_id AND c.line_id = o.line_id
    GROUP BY o.partner, o.partner_account, o.transaction_id, o.line_id, o.clock_at, o.observed_at, o.delivery_id
),
newest AS (
    SELECT partner, partner_account, transaction_id, line_id, delivery_id, content_count, smallest_amount,
        largest_amount, smallest_commission, largest_commission, smallest_hash, largest_hash
    FROM moment
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY partner_account, transaction_id, line_id
        ORDER BY clock_at DESC, observed_at DESC, last_row DESC, delivery_id DESC
    ) = 1
)
SELECT partner, partner_account, transaction_id, line_id,
    'one content' AS expected,
    CAST(content_count AS VARCHAR) || ' contents in ' || delivery_id || ': sale ' || CAST(smallest_amount AS VARCHAR)
        || ' to ' || CAST(largest_amount AS VARCHAR) || ', commission ' || CAST(smallest_commission AS VARCHAR)
        || ' to ' || CAST(largest_commission AS VARCHAR) || ', hashes ' || substr(smallest_hash, 1, 12) || ' to '
        || substr(largest_hash, 1, 12) AS found
FROM newest
WHERE content_count > 1
ORDER BY partner_account, transaction_id, line_id
