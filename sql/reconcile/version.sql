-- purpose: the versions of every transaction row, in version order.
-- grain: one state of one row.
-- reads: observation, delivery_scope, rejected_key, partner_model, moved_key.
-- key: partner_account, transaction_id, line_id, version_no.
-- Version order is the partner's one clock, cut to its precision, then when we saw it, then the row. A version is a
-- content that differs from the one before it, so one seen earlier may come back. A row that a complete answer for its
-- window leaves out becomes a version that is absent, unless the row may be among that answer's rejects; it takes the
-- clock of the word before it, so that the same word heard again stands after it. Of a partner that tells sums (aggregate)
-- a complete answer tells the whole day anew: what it leaves out has not vanished, it is zero.
WITH judged AS (
    SELECT o.*,
        MIN(content_hash) OVER moment <> MAX(content_hash) OVER moment AS is_contradicted
    FROM observation AS o
    WINDOW moment AS (PARTITION BY partner_account, transaction_id, line_id, clock_at, observed_at, delivery_id)
),
told AS (
    SELECT j.*, FALSE AS is_absent FROM judged AS j WHERE NOT is_contradicted
),
silent AS (
    SELECT k.partner_account, k.transaction_id, k.line_id, s.delivery_id, s.observed_at, s.observed_on, s.from_at, s.until_at
    FROM (
        SELECT partner_account, transaction_id, line_id, MIN(observed_at) AS first_observed_at,
            MIN(occurred_at) AS first_at, MAX(occurred_at) AS last_at
        FROM told
        GROUP BY partner_account, transaction_id, line_id
    ) AS k
    JOIN delivery_scope AS s
        ON s.partner_account = k.partner_account AND s.observed_at > k.first_observed_at
        AND s.from_at <= k.last_at AND s.until_at > k.first_at
    WHERE s.states_scope AND NOT s.has_unkeyed_rejects
        AND NOT EXISTS (
            SELECT 1 FROM observation AS o
            WHERE o.delivery_id = s.delivery_id AND o.partner_account = k.partner_account
                AND o.transaction_id = k.transaction_id AND o.line_id = k.line_id
        )
        -- A reject that names no line may be any line of its transaction.
        AND NOT EXISTS (
            SELECT 1 FROM rejected_key AS r
            WHERE r.delivery_id = s.delivery_id AND r.transaction_id = k.transaction_id
                AND (r.line_id IS NULL OR r.line_id = k.line_id)
        )
),
gone AS (
    SELECT t.partner, t.partner_account, t.transaction_id, t.line_id, t.kind, t.original_transaction_id, t.order_ref,
        t.partner_program_id, t.program_id, t.click_ref, t.partner_clicked_at, t.partner_clicked_precision_seconds,
        t.occurred_at, t.occurred_precision_seconds, t.processed_at, t.modified_at, t.status, t.raw_status,
        t.partner_paid, t.payment_ref, t.reason, t.sale_amount, t.commission_amount, t.currency, t.commission_group,
        t.customer_type,
        s.delivery_id, CAST(0 AS BIGINT) AS row_number, t.content_hash, s.observed_at, t.clock_at, t.occurred_on,
        t.processed_on, t.modified_on, s.observed_on, s.from_at, s.until_at
    FROM silent AS s
    JOIN told AS t
        ON t.partner_account = s.partner_account AND t.transaction_id = s.transaction_id AND t.line_id = s.line_id
        AND t.observed_at < s.observed_at
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY s.partner_account, s.transaction_id, s.line_id, s.delivery_id
        ORDER BY t.clock_at DESC, t.observed_at DESC, t.row_number DESC, t.delivery_id DESC, t.content_hash DESC
    ) = 1
),
word AS (
    SELECT partner, partner_account, transaction_id, line_id, kind, original_transaction_id, order_ref,
        partner_program_id, program_id, click_ref, partner_clicked_at, partner_clicked_precision_seconds, occurred_at,
        occurred_precision_seconds, processed_at, modified_at, status, raw_status, partner_paid, payment_ref, reason,
        sale_amount, commission_amount, currency, commission_group, customer_type, delivery_id, row_number, content_hash,
        observed_at, clock_at, occurred_on, processed_on, modified_on, observed_on, is_absent
    FROM told
    UNION ALL
    SELECT g.partner, g.partner_account, g.transaction_id, g.line_id, g.kind, g.original_transaction_id, g.order_ref,
        g.partner_program_id, g.program_id, g.click_ref, g.partner_clicked_at, g.partner_clicked_precision_seconds,
        g.occurred_at, g.occurred_precision_seconds, g.processed_at, g.modified_at, g.status, g.raw_status,
        g.partner_paid, g.payment_ref, g.reason,
        CASE WHEN m.reversal_model = 'aggregate' THEN CAST(0 AS DECIMAL(18, 4)) ELSE g.sale_amount END AS sale_amount,
        CASE WHEN m.reversal_model = 'aggregate' THEN CAST(0 AS DECIMAL(18, 4)) ELSE g.commission_amount END
            AS commission_amount,
        g.currency, g.commission_group, g.customer_type, g.delivery_id, g.row_number,
        -- Its content is that it is not there, whatever stood there before.
        CASE WHEN m.reversal_model = 'aggregate' THEN sha256('left out: zero') ELSE g.content_hash END AS content_hash,
        g.observed_at, g.clock_at, g.occurred_on, g.processed_on, g.modified_on, g.observed_on,
        m.reversal_model <> 'aggregate' AS is_absent
    FROM gone AS g
    JOIN partner_model AS m ON m.partner_account = g.partner_account
    WHERE g.occurred_at >= g.from_at AND g.occurred_at < g.until_at
),
compared AS (
    SELECT w.*,
        LAG(content_hash) OVER ordered AS hash_before,
        LAG(is_absent) OVER ordered AS absent_before
    FROM word AS w
    WINDOW ordered AS (
        PARTITION BY partner_account, transaction_id, line_id
        ORDER BY clock_at, observed_at, row_number, delivery_id, content_hash
    )
),
numbered AS (
    SELECT c.*,
        CAST(ROW_NUMBER() OVER ordered AS INTEGER) AS version_no,
        LAG(processed_at) OVER ordered AS processed_before,
        FIRST_VALUE(order_ref) OVER ordered AS first_order_ref,
        FIRST_VALUE(partner_program_id) OVER ordered AS first_partner_program_id,
        FIRST_VALUE(original_transaction_id) OVER ordered AS first_original_id,
        -- What takes a sale back or states it anew: an amount below zero, or an adjustment of an original it names.
        FIRST_VALUE(sale_amount < 0 OR commission_amount < 0
            OR (kind = 'adjustment' AND original_transaction_id IS NOT NULL)) OVER ordered AS is_change
    FROM compared AS c
    WHERE hash_before IS NULL OR hash_before <> content_hash OR absent_before <> is_absent
    WINDOW ordered AS (
        PARTITION BY partner_account, transaction_id, line_id
        ORDER BY clock_at, observed_at, row_number, delivery_id, content_hash
    )
),
-- A day's sum below zero takes back what earlier days gave: it belongs to the last day of its program and reference that
-- it fits into.
day_sum AS (
    SELECT n.partner_account, n.transaction_id, n.line_id, n.partner_program_id, n.click_ref, n.currency, n.occurred_at,
        n.sale_amount, n.commission_amount, n.is_change
    FROM numbered AS n
    JOIN partner_model AS m ON m.partner_account = n.partner_account
    WHERE n.version_no = 1 AND m.reversal_model = 'aggregate' AND n.click_ref IS NOT NULL
),
taken_back AS (
    SELECT b.partner_account, b.transaction_id, b.line_id, g.transaction_id AS original_id
    FROM day_sum AS b
    JOIN day_sum AS g
        ON g.partner_account = b.partner_account AND g.partner_program_id = b.partner_program_id
        AND g.click_ref = b.click_ref AND g.currency = b.currency
    WHERE b.is_change AND NOT g.is_change AND g.occurred_at < b.occurred_at
        AND g.sale_amount + b.sale_amount >= 0 AND g.commission_amount + b.commission_amount >= 0
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY b.partner_account, b.transaction_id, b.line_id
        ORDER BY g.occurred_at DESC, g.transaction_id DESC, g.line_id DESC
    ) = 1
),
-- The first version names the sale, so that a row stays in it whatever it says later.
named AS (
    SELECT n.*, m.reversal_model,
        n.partner_account || ':' || CASE
            WHEN b.original_id IS NOT NULL THEN b.original_id
            WHEN m.reversal_model = 'signed_rows' AND m.signed_row_link = 'original'
                THEN COALESCE(n.first_original_id, n.transaction_id)
            WHEN m.reversal_model = 'signed_rows' AND n.first_order_ref IS NOT NULL
                THEN COALESCE(n.first_partner_program_id, '') || '/' || n.first_order_ref
            ELSE n.transaction_id
        END AS sale_id
    FROM numbered AS n
    JOIN partner_model AS m ON m.partner_account = n.partner_account
    LEFT JOIN taken_back AS b
        ON b.partner_account = n.partner_account AND b.transaction_id = n.transaction_id AND b.line_id = n.line_id
),
-- A discount comes with the rows that make the sale, however late all of them were processed; what comes later changes it,
-- be it less or more.
begun AS (
    SELECT d.*,
        MIN(CASE WHEN version_no = 1 AND NOT is_change THEN processed_at END) OVER (PARTITION BY sale_id) AS made_at
    FROM named AS d
),
dated AS (
    SELECT b.*,
        CASE
            WHEN version_no = 1 AND reversal_model = 'signed_rows'
                AND processed_at >= COALESCE(made_at, occurred_at) + INTERVAL 1 HOUR THEN processed_on
            WHEN version_no = 1 THEN occurred_on
            WHEN is_absent THEN observed_on
            WHEN modified_on IS NOT NULL THEN modified_on
            WHEN processed_on IS NOT NULL AND processed_at IS DISTINCT FROM processed_before THEN processed_on
            ELSE observed_on
        END AS told_on
    FROM begun AS b
),
-- A key that moved to another account or id ends on that day, and what is told of it then is not heard; the sale goes on
-- with the rows of the key it moved to, from that day. Sales move whole: chains that meet in a sale are one.
sale_step AS (
    SELECT n.sale_id AS own_id, k.chain_id, k.step_no, k.from_on, k.until_on, k.next_key,
        MIN(k.chain_id) OVER (PARTITION BY n.sale_id) AS sale_chain_id
    FROM (SELECT DISTINCT partner_account, transaction_id, sale_id FROM named) AS n
    JOIN moved_key AS k ON k.partner_account = n.partner_account AND k.transaction_id = n.transaction_id
),
chained AS (
    SELECT own_id, step_no, from_on, until_on, next_key,
        MIN(sale_chain_id) OVER (PARTITION BY chain_id) AS chain_id
    FROM sale_step
),
stepped AS (
    SELECT own_id, MIN(chain_id) AS chain_id, MIN(step_no) AS step_no, MIN(from_on) AS from_on, MIN(until_on) AS until_on,
        MIN(next_key) AS next_key
    FROM chained
    GROUP BY own_id
),
moved AS (
    SELECT own_id, until_on, next_key,
        FIRST_VALUE(own_id) OVER (PARTITION BY chain_id ORDER BY step_no, own_id) AS sale_id,
        CASE WHEN step_no > MIN(step_no) OVER (PARTITION BY chain_id) THEN from_on END AS from_on,
        step_no < MAX(step_no) OVER (PARTITION BY chain_id) AS is_followed
    FROM stepped
),
effective AS (
    SELECT d.*, m.until_on, m.next_key, m.is_followed, COALESCE(m.sale_id, d.sale_id) AS moved_sale_id,
        MAX(GREATEST(d.told_on, COALESCE(m.from_on, d.told_on))) OVER (
            PARTITION BY d.partner_account, d.transaction_id, d.line_id ORDER BY d.version_no
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS effective_on
    FROM dated AS d
    LEFT JOIN moved AS m ON m.own_id = d.sale_id
),
heard AS (
    SELECT e.*
    FROM effective AS e
    WHERE until_on IS NULL OR effective_on < until_on
),
ended AS (
    SELECT h.*
    FROM heard AS h
    WHERE is_followed
    QUALIFY ROW_NUMBER() OVER (PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no DESC) = 1
)
SELECT partner, partner_account, transaction_id, line_id, kind, original_transaction_id, order_ref, partner_program_id,
    program_id, click_ref, partner_clicked_at, partner_clicked_precision_seconds, occurred_at,
    occurred_precision_seconds, processed_at, modified_at, status, raw_status, partner_paid, payment_ref, reason,
    sale_amount, commission_amount, currency, commission_group, customer_type, delivery_id, row_number, content_hash,
    observed_at, version_no, is_absent, moved_sale_id AS sale_id, effective_on
FROM heard
UNION ALL
SELECT partner, partner_account, transaction_id, line_id, kind, original_transaction_id, order_ref, partner_program_id,
    program_id, click_ref, partner_clicked_at, partner_clicked_precision_seconds, occurred_at,
    occurred_precision_seconds, processed_at, modified_at, 'declined' AS status, 'moved to ' || next_key AS raw_status,
    partner_paid, payment_ref, reason, CAST(0 AS DECIMAL(18, 4)) AS sale_amount,
    CAST(0 AS DECIMAL(18, 4)) AS commission_amount, currency, commission_group, customer_type, delivery_id, CAST(0 AS BIGINT) AS row_number,
    sha256('moved to ' || next_key) AS content_hash, observed_at, version_no + 1 AS version_no, FALSE AS is_absent,
    moved_sale_id AS sale_id, until_on AS effective_on
FROM ended
ORDER BY partner_account, transaction_id, line_id, version_no
