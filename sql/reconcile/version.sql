-- purpose: the versions of every transaction row, in version order.
-- grain: one state of one row.
-- reads: observation, dependent_row, delivery_scope, rejected_key, moved_key.
-- key: partner_account, transaction_id, line_id, version_no.
-- Version order is the partner's one clock, cut to its precision, then when we saw it, then the row. A version is a
-- content that differs from the one before it, so one seen earlier may come back. A row that a complete answer for its
-- window leaves out becomes a version that is absent, unless the row may be among that answer's rejects; it takes the
-- clock of the word before it, so that the same word heard again stands after it. Of a partner that tells sums (aggregate)
-- a complete answer tells the whole day anew: what it leaves out has not vanished, it is zero.
-- Most rows are told once, by themselves, and are their one version as they stand. The others (dependent_row) are few: only
-- they are compared and put in order, with the few columns that hangs on, and the observation that each version repeats
-- (source_delivery_id, source_row_number) is joined at the end.
WITH contradicted AS (
    SELECT partner_account, transaction_id, line_id, clock_at, observed_at, delivery_id
    FROM dependent_row
    GROUP BY partner_account, transaction_id, line_id, clock_at, observed_at, delivery_id
    HAVING MIN(content_hash) <> MAX(content_hash)
),
told AS (
    SELECT o.*
    FROM dependent_row AS o
    WHERE NOT EXISTS (
        SELECT 1 FROM contradicted AS c
        WHERE c.partner_account = o.partner_account AND c.transaction_id = o.transaction_id AND c.line_id = o.line_id
            AND c.clock_at = o.clock_at AND c.observed_at = o.observed_at AND c.delivery_id = o.delivery_id
    )
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
            SELECT 1 FROM dependent_row AS o
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
    SELECT t.partner_account, t.transaction_id, t.line_id, s.delivery_id, t.content_hash, s.observed_at, t.clock_at,
        t.occurred_at, t.processed_at, t.occurred_on, t.processed_on, t.modified_on, s.observed_on, t.reversal_model,
        t.is_change, t.named_sale, s.from_at, s.until_at,
        t.delivery_id AS source_delivery_id, t.row_number AS source_row_number
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
    SELECT partner_account, transaction_id, line_id, delivery_id, row_number, content_hash, observed_at, clock_at,
        occurred_at, processed_at, occurred_on, processed_on, modified_on, observed_on, reversal_model, is_change,
        named_sale, FALSE AS is_absent, FALSE AS is_zero,
        delivery_id AS source_delivery_id, row_number AS source_row_number
    FROM told
    UNION ALL
    SELECT partner_account, transaction_id, line_id, delivery_id, CAST(0 AS BIGINT) AS row_number,
        -- Its content is that it is not there, whatever stood there before.
        CASE WHEN reversal_model = 'aggregate' THEN sha256('left out: zero') ELSE content_hash END AS content_hash,
        observed_at, clock_at, occurred_at, processed_at, occurred_on, processed_on, modified_on, observed_on,
        reversal_model, is_change, named_sale, reversal_model <> 'aggregate' AS is_absent,
        reversal_model = 'aggregate' AS is_zero, source_delivery_id, source_row_number
    FROM gone
    WHERE occurred_at >= from_at AND occurred_at < until_at
),
-- Most rows were told once: there is nothing to compare them with.
retold AS (
    SELECT partner_account, transaction_id, line_id
    FROM word
    GROUP BY partner_account, transaction_id, line_id
    HAVING COUNT(*) > 1
),
compared AS (
    SELECT w.*,
        LAG(w.content_hash) OVER ordered AS hash_before,
        LAG(w.is_absent) OVER ordered AS absent_before
    FROM word AS w
    JOIN retold AS r
        ON r.partner_account = w.partner_account AND r.transaction_id = w.transaction_id AND r.line_id = w.line_id
    WINDOW ordered AS (
        PARTITION BY w.partner_account, w.transaction_id, w.line_id
        ORDER BY w.clock_at, w.observed_at, w.row_number, w.delivery_id, w.content_hash
    )
),
numbered AS (
    SELECT partner_account, transaction_id, line_id, delivery_id, row_number, content_hash, observed_at, occurred_at,
        processed_at, occurred_on, processed_on, modified_on, observed_on, reversal_model, is_absent, is_zero,
        source_delivery_id, source_row_number, TRUE AS is_retold,
        CAST(ROW_NUMBER() OVER ordered AS INTEGER) AS version_no,
        LAG(processed_at) OVER ordered AS processed_before,
        FIRST_VALUE(named_sale) OVER ordered AS named_sale,
        FIRST_VALUE(is_change) OVER ordered AS is_change
    FROM compared
    WHERE hash_before IS NULL OR hash_before <> content_hash OR absent_before <> is_absent
    WINDOW ordered AS (
        PARTITION BY partner_account, transaction_id, line_id
        ORDER BY clock_at, observed_at, row_number, delivery_id, content_hash
    )
    UNION ALL
    SELECT w.partner_account, w.transaction_id, w.line_id, w.delivery_id, w.row_number, w.content_hash, w.observed_at,
        w.occurred_at, w.processed_at, w.occurred_on, w.processed_on, w.modified_on, w.observed_on, w.reversal_model,
        w.is_absent, w.is_zero, w.source_delivery_id, w.source_row_number, FALSE AS is_retold, 1 AS version_no,
        CAST(NULL AS TIMESTAMP) AS processed_before, w.named_sale, w.is_change
    FROM word AS w
    ANTI JOIN retold AS r
        ON r.partner_account = w.partner_account AND r.transaction_id = w.transaction_id AND r.line_id = w.line_id
),
-- A day's sum below zero takes back what earlier days gave: it belongs to the last day of its program and reference that
-- it fits into.
day_sum AS (
    SELECT n.partner_account, n.transaction_id, n.line_id, o.partner_program_id, o.click_ref, o.currency, n.occurred_at,
        o.sale_amount, o.commission_amount, n.is_change
    FROM numbered AS n
    JOIN observation AS o
        ON o.partner_account = n.partner_account AND o.transaction_id = n.transaction_id AND o.line_id = n.line_id
        AND o.delivery_id = n.source_delivery_id AND o.row_number = n.source_row_number
    WHERE n.version_no = 1 AND n.reversal_model = 'aggregate' AND o.click_ref IS NOT NULL
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
    SELECT n.*, n.partner_account || ':' || COALESCE(b.original_id, n.named_sale) AS sale_id
    FROM numbered AS n
    LEFT JOIN taken_back AS b
        ON b.partner_account = n.partner_account AND b.transaction_id = n.transaction_id AND b.line_id = n.line_id
),
-- A discount comes with the rows that make the sale, however late all of them were processed; what comes later changes it,
-- be it less or more.
made AS (
    SELECT sale_id, MIN(processed_at) AS made_at
    FROM named
    WHERE reversal_model = 'signed_rows' AND version_no = 1 AND NOT is_change
    GROUP BY sale_id
),
dated AS (
    SELECT n.*,
        CASE
            WHEN version_no = 1 AND reversal_model = 'signed_rows'
                AND processed_at >= COALESCE(made_at, occurred_at) + INTERVAL 1 HOUR THEN processed_on
            WHEN version_no = 1 THEN occurred_on
            WHEN is_absent THEN observed_on
            WHEN modified_on IS NOT NULL THEN modified_on
            WHEN processed_on IS NOT NULL AND processed_at IS DISTINCT FROM processed_before THEN processed_on
            ELSE observed_on
        END AS told_on
    FROM named AS n
    LEFT JOIN made AS d ON d.sale_id = n.sale_id
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
placed AS (
    SELECT d.partner_account, d.transaction_id, d.line_id, d.delivery_id, d.row_number, d.content_hash, d.observed_at,
        d.version_no, d.is_absent, d.is_zero, d.is_retold, d.source_delivery_id, d.source_row_number, m.until_on,
        m.next_key, m.is_followed, COALESCE(m.sale_id, d.sale_id) AS sale_id,
        GREATEST(d.told_on, COALESCE(m.from_on, d.told_on)) AS stated_on
    FROM dated AS d
    LEFT JOIN moved AS m ON m.own_id = d.sale_id
),
effective AS (
    SELECT p.*,
        MAX(stated_on) OVER (
            PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS effective_on
    FROM placed AS p
    WHERE is_retold
    UNION ALL
    SELECT p.*, stated_on AS effective_on
    FROM placed AS p
    WHERE NOT is_retold
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
),
stated AS (
    SELECT partner_account, transaction_id, line_id, delivery_id, row_number, content_hash, observed_at, version_no,
        is_absent, is_zero, CAST(NULL AS VARCHAR) AS moved_to, sale_id, effective_on, source_delivery_id, source_row_number
    FROM heard
    UNION ALL
    SELECT partner_account, transaction_id, line_id, delivery_id, CAST(0 AS BIGINT) AS row_number,
        sha256('moved to ' || next_key) AS content_hash, observed_at, version_no + 1 AS version_no, FALSE AS is_absent,
        TRUE AS is_zero, 'moved to ' || next_key AS moved_to, sale_id, until_on AS effective_on, source_delivery_id,
        source_row_number
    FROM ended
)
SELECT o.partner, o.partner_account, o.transaction_id, o.line_id, o.kind, o.original_transaction_id, o.order_ref,
    o.partner_program_id, o.program_id, o.click_ref, o.partner_clicked_at, o.partner_clicked_precision_seconds,
    o.occurred_at, o.occurred_precision_seconds, o.processed_at, o.modified_at,
    CASE WHEN s.moved_to IS NULL THEN o.status ELSE 'declined' END AS status,
    COALESCE(s.moved_to, o.raw_status) AS raw_status, o.partner_paid, o.payment_ref, o.reason,
    CASE WHEN s.is_zero THEN CAST(0 AS DECIMAL(18, 4)) ELSE o.sale_amount END AS sale_amount,
    CASE WHEN s.is_zero THEN CAST(0 AS DECIMAL(18, 4)) ELSE o.commission_amount END AS commission_amount,
    o.currency, o.commission_group, o.customer_type, s.delivery_id, s.row_number, s.content_hash, s.observed_at,
    s.version_no, s.is_absent, s.sale_id, s.effective_on
FROM stated AS s
JOIN observation AS o
    ON o.partner_account = s.partner_account AND o.transaction_id = s.transaction_id AND o.line_id = s.line_id
    AND o.delivery_id = s.source_delivery_id AND o.row_number = s.source_row_number
UNION ALL
SELECT t.partner, t.partner_account, t.transaction_id, t.line_id, t.kind, t.original_transaction_id, t.order_ref,
    t.partner_program_id, t.program_id, t.click_ref, t.partner_clicked_at, t.partner_clicked_precision_seconds,
    t.occurred_at, t.occurred_precision_seconds, t.processed_at, t.modified_at, t.status, t.raw_status, t.partner_paid,
    t.payment_ref, t.reason, t.sale_amount, t.commission_amount, t.currency, t.commission_group, t.customer_type,
    t.delivery_id, t.row_number, t.content_hash, t.observed_at, 1 AS version_no, FALSE AS is_absent,
    t.partner_account || ':' || t.named_sale AS sale_id,
    -- As `dated` has it: what makes a sale by itself is not later than itself.
    CASE
        WHEN t.reversal_model = 'signed_rows' AND t.is_change AND t.processed_at >= t.occurred_at + INTERVAL 1 HOUR
            THEN t.processed_on
        ELSE t.occurred_on
    END AS effective_on
FROM observation AS t
ANTI JOIN dependent_row AS k
    ON k.partner_account = t.partner_account AND k.transaction_id = t.transaction_id AND k.line_id = t.line_id
ORDER BY partner_account, transaction_id, line_id, version_no
