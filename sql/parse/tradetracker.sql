-- purpose: what the elements of TradeTracker's conversion transactions mean (docs/partners/tradetracker.md).
-- grain: one row for each row of `flat`, good or not. reads: flat. key: delivery_id, row_number.
-- why: a lead has no order, so its sale amount is 0 where the partner says nil; of a sale it must be said. A time with an
--      offset is what it says; without one it is a clock in the account's zone. `description` is the shop's order reference.
WITH typed AS (
    SELECT
        delivery_id, row_number, flatten_error, id, campaign_id, transaction_type, transaction_status,
        currency AS currency_text, order_amount, commission, registration_date, assessment_date, originating_click_date, paid_out,
        CASE transaction_type WHEN 'sale' THEN 'sale' WHEN 'lead' THEN 'lead' END AS kind,
        present(description) AS order_ref,
        present(reference) AS click_ref,
        instant_iso_offset(originating_click_date, $zone) AS partner_clicked_at,
        instant_iso_offset(registration_date, $zone) AS occurred_at,
        instant_iso_offset(assessment_date, $zone) AS processed_at,
        CASE transaction_status
            WHEN 'pending' THEN 'pending'
            WHEN 'accepted' THEN 'approved'
            WHEN 'rejected' THEN 'declined'
        END AS status,
        truth(paid_out) AS partner_paid,
        present(rejection_reason) AS reason,
        CASE WHEN transaction_type = 'lead' AND present(order_amount) IS NULL THEN CAST(0 AS DECIMAL(18, 4))
             ELSE money(order_amount) END AS sale_amount,
        money(commission) AS commission_amount,
        currency(currency) AS currency,
        present(campaign_product_id) AS commission_group
    FROM flat
), judged AS (
    SELECT
        delivery_id,
        row_number,
        coalesce(
            CASE WHEN flatten_error IS NOT NULL THEN fault('broken_row', NULL, NULL, flatten_error) END,
            needed_readable('transaction_id', id, identifier(id)),
            needed_readable('partner_program_id', campaign_id, identifier(campaign_id)),
            needed_known('kind', transaction_type, kind),
            needed_known('status', transaction_status, status),
            needed_readable('occurred_at', registration_date, occurred_at),
            readable('partner_clicked_at', present(originating_click_date), partner_clicked_at),
            readable('processed_at', present(assessment_date), processed_at),
            CASE WHEN kind = 'sale' THEN needed('sale_amount', present(order_amount)) END,
            readable('sale_amount', present(order_amount), sale_amount),
            needed_readable('commission_amount', commission, commission_amount),
            needed_readable('currency', currency_text, currency),
            needed_readable('partner_paid', paid_out, partner_paid)
        ) AS reject,
        $partner AS partner,
        $partner_account AS partner_account,
        present(id) AS transaction_id,
        '' AS line_id,
        kind,
        CAST(NULL AS VARCHAR) AS original_transaction_id,
        order_ref,
        campaign_id AS partner_program_id,
        CAST(NULL AS VARCHAR) AS program_id,
        click_ref,
        partner_clicked_at,
        CASE WHEN partner_clicked_at IS NOT NULL THEN 1 END AS partner_clicked_precision_seconds,
        occurred_at,
        1 AS occurred_precision_seconds,
        processed_at,
        CAST(NULL AS TIMESTAMP) AS modified_at,
        status,
        transaction_status AS raw_status,
        partner_paid,
        CAST(NULL AS VARCHAR) AS payment_ref,
        reason,
        sale_amount,
        commission_amount,
        currency,
        commission_group,
        CAST(NULL AS VARCHAR) AS customer_type
    FROM typed
)
SELECT
    partner, partner_account, transaction_id, line_id, kind, original_transaction_id, order_ref, partner_program_id,
    program_id, click_ref, partner_clicked_at, partner_clicked_precision_seconds, occurred_at, occurred_precision_seconds,
    processed_at, modified_at, status, raw_status, partner_paid, payment_ref, reason, sale_amount, commission_amount,
    currency, commission_group, customer_type, delivery_id, row_number, content_hash(judged) AS content_hash,
    reject.rule AS reject_rule, reject.column_name AS reject_column, reject.value AS reject_value,
    reject.reason AS reject_reason
FROM judged
ORDER BY delivery_id, row_number
