-- purpose: what the columns of Kelkoo's statistics mean (docs/partners/kelkoo.md).
-- grain: one row for each row of `flat`, good or not. reads: flat (media_type names the country and currency that were
--      asked for). key: delivery_id, row_number.
-- why: a row is the sum of a day, so it has no id: its key is day, country and Custom1, and so no other day can change it. A
--      Custom1 that would be no key as it stands is there as its hash. The sum is for clicks, so there is no sale amount;
--      without a status it is approved after the program's validation days or when it is paid for.
WITH typed AS (
    SELECT
        delivery_id, row_number, flatten_error, day, revenue,
        regexp_extract(media_type, ';country=([a-z]{2})', 1) AS country,
        regexp_extract(media_type, ';currency=([A-Z]{3})', 1) AS currency_text,
        present(custom1) AS click_ref,
        instant_iso(day || 'T00:00:00', $zone) AS occurred_at,
        money(revenue) AS commission_amount
    FROM flat
), told AS (
    SELECT
        delivery_id, row_number, flatten_error, day, revenue, country, currency_text, click_ref, occurred_at,
        commission_amount,
        -- A day has 23 or 25 hours where clocks are put on or back.
        CAST(epoch(
            make_timestamp(utc_us(date_trunc('day', wall_of_us(epoch_us(occurred_at), $zone)) + INTERVAL 1 DAY, $zone)) - occurred_at
        ) AS INTEGER) AS occurred_precision_seconds,
        CASE WHEN occurred_at IS NOT NULL AND country <> ''
             THEN day || '/' || country || '/' || coalesce(identifier(click_ref), '~' || sha256(click_ref), '') END
            AS transaction_id
    FROM typed
), judged AS (
    SELECT
        delivery_id,
        row_number,
        coalesce(
            CASE WHEN flatten_error IS NOT NULL THEN fault('broken_row', NULL, NULL, flatten_error) END,
            needed_readable('occurred_at', day, occurred_at),
            needed('partner_program_id', present(country)),
            needed_readable('commission_amount', revenue, commission_amount),
            needed('currency', present(currency_text))
        ) AS reject,
        $partner AS partner,
        $partner_account AS partner_account,
        transaction_id,
        '' AS line_id,
        'lead' AS kind,
        CAST(NULL AS VARCHAR) AS original_transaction_id,
        CAST(NULL AS VARCHAR) AS order_ref,
        country AS partner_program_id,
        CAST(NULL AS VARCHAR) AS program_id,
        click_ref,
        CAST(NULL AS TIMESTAMP) AS partner_clicked_at,
        CAST(NULL AS INTEGER) AS partner_clicked_precision_seconds,
        occurred_at,
        occurred_precision_seconds,
        CAST(NULL AS TIMESTAMP) AS processed_at,
        CAST(NULL AS TIMESTAMP) AS modified_at,
        CAST(NULL AS VARCHAR) AS status,
        CAST(NULL AS VARCHAR) AS raw_status,
        false AS partner_paid,
        CAST(NULL AS VARCHAR) AS payment_ref,
        CAST(NULL AS VARCHAR) AS reason,
        CAST(0 AS DECIMAL(18, 4)) AS sale_amount,
        commission_amount,
        currency_text AS currency,
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
