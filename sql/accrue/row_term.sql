-- purpose: the contract term that holds for each row of a sale, of programs whose contract tells any at that instant.
-- grain: one row of a sale with one commission group, customer type and currency, as its versions tell them.
-- reads: version, sale, contract_term.
-- key: sale_id, transaction_id, line_id, commission_group, customer_type, currency.
-- The instant is that of the click, or of the sale where no click is known. A term that names the group or the customer
-- comes before one that does not, the group first. A row that tells neither is of those its sale tells, if there is one.
-- Parts of several groups cannot be told apart: no term holds, and so nothing is expected (term_id is null).
WITH told AS (
    SELECT DISTINCT v.sale_id, v.transaction_id, v.line_id, v.commission_group, v.customer_type, v.currency,
        s.program_id, COALESCE(s.clicked_at, s.occurred_at) AS held_at
    FROM version AS v
    JOIN sale AS s ON s.sale_id = v.sale_id
    JOIN (SELECT DISTINCT program_id FROM contract_term) AS p ON p.program_id = s.program_id
),
meant AS (
    SELECT t.*,
        COALESCE(t.commission_group, CASE WHEN MIN(t.commission_group) OVER of_sale = MAX(t.commission_group) OVER of_sale
            THEN MIN(t.commission_group) OVER of_sale END) AS meant_group,
        COALESCE(t.customer_type, CASE WHEN MIN(t.customer_type) OVER of_sale = MAX(t.customer_type) OVER of_sale
            THEN MIN(t.customer_type) OVER of_sale END) AS meant_customer
    FROM told AS t
    WINDOW of_sale AS (PARTITION BY t.sale_id)
),
held AS (
    SELECT m.*, c.term_id, c.commission_group AS term_group, c.customer_type AS term_customer, c.basis, c.value,
        c.valid_from, c.valid_until,
        c.currency = m.currency
            AND (c.commission_group = m.meant_group
                OR (c.commission_group IS NULL AND COALESCE(m.meant_group, '') <> 'several'))
            AND (c.customer_type IS NULL OR c.customer_type = COALESCE(m.meant_customer, '')) AS is_fitting
    FROM meant AS m
    JOIN contract_term AS c
        ON c.program_id = m.program_id AND c.valid_from <= m.held_at
        AND (c.valid_until IS NULL OR m.held_at < c.valid_until)
),
ranked AS (
    SELECT h.*,
        ROW_NUMBER() OVER (
            PARTITION BY sale_id, transaction_id, line_id, commission_group, customer_type, currency
            ORDER BY
                CASE WHEN COALESCE(is_fitting, FALSE) THEN 0 ELSE 1 END,
                CASE WHEN term_group IS NULL THEN 1 ELSE 0 END,
                CASE WHEN term_customer IS NULL THEN 1 ELSE 0 END,
                term_id
        ) AS rank
    FROM held AS h
)
SELECT sale_id, transaction_id, line_id, commission_group, customer_type, currency,
    CASE WHEN is_fitting THEN term_id END AS term_id,
    CASE WHEN is_fitting THEN basis END AS basis,
    CASE WHEN is_fitting THEN value END AS value,
    CASE WHEN is_fitting THEN valid_from END AS valid_from,
    CASE WHEN is_fitting THEN valid_until END AS valid_until
FROM ranked
WHERE rank = 1
ORDER BY sale_id, transaction_id, line_id, commission_group, customer_type, currency
