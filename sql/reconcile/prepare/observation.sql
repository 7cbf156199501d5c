-- purpose: what partners said, with the days of the books' zone, the clock that orders versions, and the sale it names.
-- grain: one accepted row of one delivery.
-- reads: transaction_row, delivery_scope, partner_model. Parameter books_zone.
-- key: delivery_id, row_number.
-- A clock is cut to its precision in whole microseconds. A row without modified_at sorts by its sale: the earliest it can be.
WITH clocked AS (
    SELECT t.*, d.observed_at, m.clock_precision_seconds, m.reversal_model, m.signed_row_link,
        CASE WHEN m.version_clock = 'modified' THEN coalesce(t.modified_at, t.occurred_at) ELSE d.observed_at END AS clock
    FROM transaction_row AS t
    JOIN delivery_scope AS d ON d.delivery_id = t.delivery_id
    JOIN partner_model AS m ON m.partner_account = t.partner_account
)
SELECT partner, partner_account, transaction_id, line_id, kind, original_transaction_id, order_ref, partner_program_id,
    program_id, click_ref, partner_clicked_at, partner_clicked_precision_seconds, occurred_at,
    occurred_precision_seconds, processed_at, modified_at, status, raw_status, partner_paid, payment_ref, reason,
    sale_amount, commission_amount, currency, commission_group, customer_type, delivery_id, row_number, content_hash,
    observed_at,
    make_timestamp(epoch_us(clock) - epoch_us(clock) % (greatest(clock_precision_seconds, 1)::BIGINT * 1000000))
        AS clock_at,
    CAST(occurred_at AT TIME ZONE 'UTC' AT TIME ZONE $books_zone AS DATE) AS occurred_on,
    CAST(processed_at AT TIME ZONE 'UTC' AT TIME ZONE $books_zone AS DATE) AS processed_on,
    CAST(modified_at AT TIME ZONE 'UTC' AT TIME ZONE $books_zone AS DATE) AS modified_on,
    CAST(observed_at AT TIME ZONE 'UTC' AT TIME ZONE $books_zone AS DATE) AS observed_on,
    reversal_model,
    -- What takes a sale back or states it anew: an amount below zero, or an adjustment of an original it names.
    sale_amount < 0 OR commission_amount < 0 OR (kind = 'adjustment' AND original_transaction_id IS NOT NULL) AS is_change,
    CASE
        WHEN reversal_model = 'signed_rows' AND signed_row_link = 'original'
            THEN coalesce(original_transaction_id, transaction_id)
        WHEN reversal_model = 'signed_rows' AND order_ref IS NOT NULL
            THEN coalesce(partner_program_id, '') || '/' || order_ref
        ELSE transaction_id
    END AS named_sale
FROM clocked
ORDER BY partner_account, transaction_id, line_id, observed_at, delivery_id, row_number
