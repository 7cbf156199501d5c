-- purpose: what the columns of CJ's commission records mean (docs/partners/cj.md).
-- grain: one row for each row of `flat`, good or not. reads: flat (media_type names the currency of the account).
--      key: delivery_id, row_number.
-- why: a record that corrects another has an id of its own and the action's; joined by that, amounts are summed. Of a
--      restatement the second record is above zero and still a correction. A booking that was declined is worth nothing,
--      whatever its action status says. A lead or bonus need have no sale amount.
WITH typed AS (
    SELECT
        delivery_id, row_number, flatten_error, commission_id, original_action_id, original, action_status, action_type,
        validation_status, advertiser_id, event_date, posting_date, click_date,
        sale_amount AS sale_amount_text, commission_amount AS commission_amount_text,
        regexp_extract(media_type, ';currency=([A-Z]{3})', 1) AS currency_text,
        truth(original) AS is_original,
        CASE lower(action_type)
            WHEN 'item_sale' THEN 'sale' WHEN 'sim_sale' THEN 'sale' WHEN 'item_lead' THEN 'lead' WHEN 'sim_lead' THEN 'lead'
            WHEN 'click' THEN 'lead' WHEN 'imp' THEN 'lead' WHEN 'bonus' THEN 'bonus' WHEN 'perf_inc' THEN 'bonus'
        END AS action_kind,
        CASE lower(action_status)
            WHEN 'new' THEN 'pending' WHEN 'extended' THEN 'pending' WHEN 'locked' THEN 'approved' WHEN 'closed' THEN 'approved'
        END AS action_state,
        CASE upper(validation_status)
            WHEN 'PENDING' THEN 'pending' WHEN 'ACCEPTED' THEN 'accepted' WHEN 'AUTOMATED' THEN 'automated'
            WHEN 'DECLINED' THEN 'declined'
        END AS validation,
        present(order_id) AS order_ref,
        present(shopper_id) AS click_ref,
        present(correction_reason) AS reason,
        instant_iso_offset(event_date, $zone) AS occurred_at,
        instant_iso_offset(posting_date, $zone) AS processed_at,
        instant_iso_offset(click_date, $zone) AS partner_clicked_at,
        money(sale_amount) AS sale_told,
        money(commission_amount) AS commission_amount
    FROM flat
), told AS (
    SELECT
        t.*,
        CASE WHEN is_original THEN action_kind WHEN NOT is_original THEN 'adjustment' END AS kind,
        CASE WHEN validation = 'declined' THEN 'declined' ELSE action_state END AS status,
        CASE WHEN present(sale_amount_text) IS NULL AND action_kind <> 'sale' THEN CAST(0 AS DECIMAL(18, 4))
             ELSE sale_told END AS sale_amount
    FROM typed AS t
), judged AS (
    SELECT
        delivery_id,
        row_number,
        coalesce(
            CASE WHEN flatten_error IS NOT NULL THEN fault('broken_row', NULL, NULL, flatten_error) END,
            needed_readable('transaction_id', commission_id, identifier(commission_id)),
            needed_readable('original_transaction_id', original_action_id, identifier(original_action_id)),
            needed_readable('kind', original, is_original),
            needed_known('kind', action_type, action_kind),
            needed_known('status', action_status, action_state),
            known('status', present(validation_status), validation),
            needed_readable('partner_program_id', advertiser_id, identifier(advertiser_id)),
            needed_readable('occurred_at', event_date, occurred_at),
            needed_readable('processed_at', posting_date, processed_at),
            readable('partner_clicked_at', present(click_date), partner_clicked_at),
            CASE WHEN action_kind = 'sale' THEN needed('sale_amount', present(sale_amount_text)) END,
            readable('sale_amount', present(sale_amount_text), sale_told),
            needed_readable('commission_amount', commission_amount_text, commission_amount),
            needed('currency', present(currency_text))
        ) AS reject,
        $partner AS partner,
        $partner_account AS partner_account,
        present(commission_id) AS transaction_id,
        '' AS line_id,
        kind,
        original_action_id AS original_transaction_id,
        order_ref,
        advertiser_id AS partner_program_id,
        CAST(NULL AS VARCHAR) AS program_id,
        click_ref,
        partner_clicked_at,
        CASE WHEN partner_clicked_at IS NOT NULL THEN 1 END AS partner_clicked_precision_seconds,
        occurred_at,
        1 AS occurred_precision_seconds,
        processed_at,
        CAST(NULL AS TIMESTAMP) AS modified_at,
        status,
        concat_ws('/', action_status, present(validation_status)) AS raw_status,
        false AS partner_paid,
        CAST(NULL AS VARCHAR) AS payment_ref,
        reason,
        sale_amount,
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
