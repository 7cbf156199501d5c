-- purpose: what the columns of Awin's transactions mean (docs/partners/awin.md).
-- grain: one row for each row of `flat`, good or not. reads: flat. key: delivery_id, row_number.
-- why: amounts of a declined row stay as they are (declined means zero whatever they say). Times are cut to the minute
--      by Awin. Bonus rows have no click. Paid is a flag beside the status, never a status.
WITH typed AS (
    SELECT
        delivery_id, row_number, flatten_error, id, advertiser_id, commission_status, type,
        sale_amount AS sale_amount_text, commission_amount AS commission_amount_text, sale_currency, commission_currency,
        transaction_date, click_date, validation_date, paid_to_publisher, payment_id,
        CASE lower(type)
            WHEN 'commission group transaction' THEN 'sale'
            WHEN 'lead' THEN 'lead'
            WHEN 'bonus' THEN 'bonus'
        END AS kind,
        present(order_ref) AS order_ref,
        coalesce(present(click_ref), present(click_ref2)) AS click_ref,
        instant_iso(click_date, $zone) AS partner_clicked_at,
        instant_iso(transaction_date, $zone) AS occurred_at,
        instant_iso(validation_date, $zone) AS processed_at,
        CASE commission_status
            WHEN 'pending' THEN 'pending'
            WHEN 'approved' THEN 'approved'
            WHEN 'declined' THEN 'declined'
            WHEN 'deleted' THEN 'declined'
        END AS status,
        truth(paid_to_publisher) AS partner_paid,
        CASE WHEN payment_id <> '0' THEN identifier(payment_id) END AS payment_ref,
        coalesce(present(decline_reason), present(amend_reason)) AS reason,
        money(sale_amount) AS sale_amount,
        money(commission_amount) AS commission_amount,
        currency(commission_currency) AS currency,
        present(commission_group) AS commission_group,
        CASE lower(present(customer_acquisition))
            WHEN 'new' THEN 'new'
            WHEN 'existing' THEN 'existing'
            WHEN 'returning' THEN 'existing'
            ELSE lower(present(customer_acquisition))
        END AS customer_type
    FROM flat
), judged AS (
    SELECT
        delivery_id,
        row_number,
        coalesce(
            CASE WHEN flatten_error IS NOT NULL THEN fault('broken_row', NULL, NULL, flatten_error) END,
            needed_readable('transaction_id', id, identifier(id)),
            needed_readable('partner_program_id', advertiser_id, identifier(advertiser_id)),
            needed_known('type', type, kind),
            needed_known('status', commission_status, status),
            needed_readable('occurred_at', transaction_date, occurred_at),
            readable('partner_clicked_at', present(click_date), partner_clicked_at),
            readable('processed_at', present(validation_date), processed_at),
            needed_readable('sale_amount', sale_amount_text, sale_amount),
            needed_readable('commission_amount', commission_amount_text, commission_amount),
            needed_readable('currency', commission_currency, currency),
            CASE WHEN sale_currency IS DISTINCT FROM commission_currency
                 THEN fault('two_currencies', 'currency', concat(sale_currency, ' and ', commission_currency),
                            'sale and commission are not in one currency') END,
            needed_readable('partner_paid', paid_to_publisher, partner_paid),
            CASE WHEN present(payment_id) <> '0' THEN readable('payment_ref', payment_id, payment_ref) END
        ) AS reject,
        $partner AS partner,
        $partner_account AS partner_account,
        present(id) AS transaction_id,
        '' AS line_id,
        kind,
        CAST(NULL AS VARCHAR) AS original_transaction_id,
        order_ref,
        advertiser_id AS partner_program_id,
        CAST(NULL AS VARCHAR) AS program_id,
        click_ref,
        partner_clicked_at,
        CASE WHEN partner_clicked_at IS NOT NULL THEN 60 END AS partner_clicked_precision_seconds,
        occurred_at,
        60 AS occurred_precision_seconds,
        processed_at,
        CAST(NULL AS TIMESTAMP) AS modified_at,
        status,
        commission_status AS raw_status,
        partner_paid,
        payment_ref,
        reason,
        sale_amount,
        commission_amount,
        currency,
        commission_group,
        customer_type
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
