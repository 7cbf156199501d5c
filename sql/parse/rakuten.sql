-- purpose: what the columns of Rakuten's item report mean (docs/partners/rakuten.md).
-- grain: one row for each row of `flat`, good or not. reads: flat (media_type names the network of the
--      file). key: delivery_id, row_number.
-- why: the report has no currency and no status. The currency follows from the network number; the status is null and
--      comes from validation days or a remittance. A correction is a row of its own with negative amounts, which repeats
--      the original time: taking back an hour or more after it is kind `adjustment`, at once it is a line of the sale
--      (a discount). The text null means absent.
WITH typed AS (
    SELECT
        delivery_id, row_number, flatten_error, mid, transaction_id,
        transaction_date, transaction_time, process_date, process_time, sales, commission,
        regexp_extract(media_type, ';network=([0-9]+)', 1) AS network,
        CASE WHEN order_id <> 'null' THEN present(order_id) END AS order_ref,
        CASE WHEN member_id <> 'null' THEN present(member_id) END AS click_ref,
        instant_us_short(transaction_date || ' ' || transaction_time, $zone) AS occurred_at,
        instant_us_short(process_date || ' ' || process_time, $zone) AS processed_at,
        money_grouped(sales) AS sale_amount,
        money_grouped(commission) AS commission_amount
    FROM flat
), told AS (
    SELECT
        delivery_id, row_number, flatten_error, mid, transaction_id,
        transaction_date, transaction_time, process_date, process_time, sales, commission,
        network, order_ref, click_ref, occurred_at, processed_at, sale_amount, commission_amount,
        CASE network
            WHEN '1' THEN 'USD' WHEN '3' THEN 'GBP' WHEN '5' THEN 'CAD' WHEN '7' THEN 'EUR' WHEN '9' THEN 'EUR'
            WHEN '41' THEN 'AUD'
        END AS currency,
        CASE WHEN (sale_amount < 0 OR commission_amount < 0) AND processed_at >= occurred_at + INTERVAL 1 HOUR
             THEN 'adjustment' ELSE 'sale' END AS kind
    FROM typed
), judged AS (
    SELECT
        delivery_id,
        row_number,
        coalesce(
            CASE WHEN flatten_error IS NOT NULL THEN fault('broken_row', NULL, NULL, flatten_error) END,
            needed_readable('transaction_id', transaction_id, identifier(transaction_id)),
            needed_readable('partner_program_id', mid, identifier(mid)),
            CASE WHEN occurred_at IS NULL THEN coalesce(
                needed('occurred_at', present(transaction_date)),
                needed('occurred_at', present(transaction_time)),
                readable('occurred_at', transaction_date || ' ' || transaction_time, occurred_at)) END,
            CASE WHEN processed_at IS NULL THEN coalesce(
                needed('processed_at', present(process_date)),
                needed('processed_at', present(process_time)),
                readable('processed_at', process_date || ' ' || process_time, processed_at)) END,
            needed_readable('sale_amount', sales, sale_amount),
            needed_readable('commission_amount', commission, commission_amount),
            needed_known('currency', network, currency)
        ) AS reject,
        $partner AS partner,
        $partner_account AS partner_account,
        present(transaction_id) AS transaction_id,
        '' AS line_id,
        kind,
        CAST(NULL AS VARCHAR) AS original_transaction_id,
        order_ref,
        mid AS partner_program_id,
        CAST(NULL AS VARCHAR) AS program_id,
        click_ref,
        CAST(NULL AS TIMESTAMP) AS partner_clicked_at,
        CAST(NULL AS INTEGER) AS partner_clicked_precision_seconds,
        occurred_at,
        1 AS occurred_precision_seconds,
        processed_at,
        CAST(NULL AS TIMESTAMP) AS modified_at,
        CAST(NULL AS VARCHAR) AS status,
        CAST(NULL AS VARCHAR) AS raw_status,
        false AS partner_paid,
        CAST(NULL AS VARCHAR) AS payment_ref,
        CAST(NULL AS VARCHAR) AS reason,
        sale_amount,
        commission_amount,
        currency,
        CAST(NULL AS VARCHAR) AS commission_group,
        CAST(NULL AS VARCHAR) AS customer_type
    FROM told
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
