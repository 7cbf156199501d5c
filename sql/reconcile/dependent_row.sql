-- purpose: the rows whose versions hang on more than the one time they were told: on another word, row or answer.
-- grain: one time such a row was told, with what its versions are found by.
-- reads: observation, delivery_scope, moved_key.
-- key: partner_account, transaction_id, line_id, delivery_id, row_number.
-- It may name a row too many, which costs time, but never one too few.
WITH shared_sale AS (
    SELECT partner_account, named_sale
    FROM observation
    WHERE reversal_model = 'signed_rows'
    GROUP BY partner_account, named_sale
    HAVING COUNT(*) > 1
),
dependent_key AS (
    SELECT partner_account, transaction_id, line_id
    FROM observation
    GROUP BY partner_account, transaction_id, line_id
    HAVING COUNT(*) > 1
    UNION
    -- Rows that name one sale say together when it was made.
    SELECT o.partner_account, o.transaction_id, o.line_id
    FROM observation AS o
    SEMI JOIN shared_sale AS s ON s.partner_account = o.partner_account AND s.named_sale = o.named_sale
    WHERE o.reversal_model = 'signed_rows'
    UNION
    -- Sums of days may take back those of others.
    SELECT partner_account, transaction_id, line_id FROM observation WHERE reversal_model = 'aggregate'
    UNION
    SELECT o.partner_account, o.transaction_id, o.line_id
    FROM observation AS o
    SEMI JOIN moved_key AS k ON k.partner_account = o.partner_account AND k.transaction_id = o.transaction_id
    UNION
    -- A later answer should have told it again.
    SELECT o.partner_account, o.transaction_id, o.line_id
    FROM observation AS o
    JOIN delivery_scope AS s
        ON s.partner_account = o.partner_account AND s.observed_at > o.observed_at
        AND s.from_at <= o.occurred_at AND s.until_at > o.occurred_at
    WHERE s.states_scope AND NOT s.has_unkeyed_rejects
)
SELECT o.partner_account, o.transaction_id, o.line_id, o.delivery_id, o.row_number, o.content_hash, o.observed_at,
    o.clock_at, o.occurred_at, o.processed_at, o.occurred_on, o.processed_on, o.modified_on, o.observed_on,
    o.reversal_model, o.is_change, o.named_sale
FROM observation AS o
SEMI JOIN dependent_key AS k
    ON k.partner_account = o.partner_account AND k.transaction_id = o.transaction_id AND k.line_id = o.line_id
ORDER BY o.partner_account, o.transaction_id, o.line_id, o.delivery_id, o.row_number
