-- purpose: every remittance in the revision that counts: whether its money is there and ties, and since when it is whole.
-- grain: one remittance.
-- reads: remittance, remittance_line, remittance_decision (those not undone), currency_unit.
-- key: partner_account, remittance_id.
-- A remittance is allocated if the bank received what its lines say, to less than one unit of its currency; converted
-- money always ties. What a partner carries forward is held back first in, first out: a remittance is funded once all
-- that was held back up to it came back. What came back without having been held back funds nothing.
WITH newest AS (
    SELECT partner, partner_account, remittance_id, revision, due_on, received_on, currency, net_minor, bank,
        bank_amount_minor, bank_currency, coverage, period_from, period_until
    FROM remittance
    QUALIFY ROW_NUMBER() OVER (PARTITION BY partner_account, remittance_id ORDER BY revision DESC) = 1
),
summed AS (
    SELECT partner_account, remittance_id, revision,
        CAST(SUM(amount_minor) AS BIGINT) AS told_minor,
        CAST(COALESCE(SUM(-amount_minor) FILTER (WHERE kind = 'carry_forward' AND amount_minor < 0), 0) AS BIGINT)
            AS held_minor,
        CAST(COALESCE(SUM(amount_minor) FILTER (WHERE kind = 'carry_forward' AND amount_minor > 0), 0) AS BIGINT)
            AS returned_minor
    FROM remittance_line
    GROUP BY partner_account, remittance_id, revision
),
decided AS (
    SELECT partner_account, remittance_id, revision,
        COUNT(*) FILTER (WHERE kind = 'withhold') > 0 AS is_withheld,
        COUNT(*) FILTER (WHERE kind = 'oldest_first') > 0 AS is_oldest_first
    FROM remittance_decision
    GROUP BY partner_account, remittance_id, revision
),
judged AS (
    SELECT n.*, COALESCE(s.told_minor, 0) AS told_minor, COALESCE(s.held_minor, 0) AS held_minor,
        COALESCE(s.returned_minor, 0) AS returned_minor,
        COALESCE(d.is_withheld, FALSE) AS is_withheld, COALESCE(d.is_oldest_first, FALSE) AS is_oldest_first,
        n.bank_currency <> n.currency
            OR ABS(COALESCE(s.told_minor, 0) - n.bank_amount_minor) < u.unit_minor AS is_tied
    FROM newest AS n
    JOIN currency_unit AS u ON u.currency = n.currency
    LEFT JOIN summed AS s
        ON s.partner_account = n.partner_account AND s.remittance_id = n.remittance_id AND s.revision = n.revision
    LEFT JOIN decided AS d
        ON d.partner_account = n.partner_account AND d.remittance_id = n.remittance_id AND d.revision = n.revision
),
allocated AS (
    SELECT partner_account, remittance_id, currency, received_on, held_minor,
        CAST(SUM(held_minor) OVER passed AS BIGINT) AS held_so_far,
        CAST(SUM(returned_minor) OVER passed AS BIGINT) AS returned_so_far
    FROM judged
    WHERE received_on IS NOT NULL AND is_tied AND NOT is_withheld
    WINDOW passed AS (PARTITION BY partner_account, currency ORDER BY received_on, remittance_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
counted AS (
    SELECT a.*,
        GREATEST(0, MAX(returned_so_far - held_so_far) OVER (
            PARTITION BY partner_account, currency ORDER BY received_on, remittance_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )) AS excess_minor
    FROM allocated AS a
),
released AS (
    SELECT h.partner_account, h.remittance_id, MIN(r.received_on) AS funded_on
    FROM counted AS h
    JOIN counted AS r
        ON r.partner_account = h.partner_account AND r.currency = h.currency
        AND (r.received_on > h.received_on OR (r.received_on = h.received_on AND r.remittance_id >= h.remittance_id))
        AND r.returned_so_far - r.excess_minor >= h.held_so_far
    WHERE h.held_minor > 0
    GROUP BY h.partner_account, h.remittance_id
)
SELECT j.partner, j.partner_account, j.remittance_id, j.partner_account || ':' || j.remittance_id AS document_id,
    j.revision, j.due_on, j.received_on, j.currency, j.net_minor, j.told_minor, j.held_minor, j.bank,
    j.bank_amount_minor, j.bank_currency, j.coverage, j.period_from, j.period_until, j.is_tied, j.is_withheld,
    j.is_oldest_first,
    c.remittance_id IS NOT NULL AS is_allocated,
    CASE WHEN j.held_minor > 0 THEN r.funded_on WHEN c.remittance_id IS NOT NULL THEN j.received_on END AS funded_on,
    COALESCE(c.excess_minor, 0) AS excess_minor
FROM judged AS j
LEFT JOIN counted AS c ON c.partner_account = j.partner_account AND c.remittance_id = j.remittance_id
LEFT JOIN released AS r ON r.partner_account = j.partner_account AND r.remittance_id = j.remittance_id
ORDER BY j.partner_account, j.remittance_id
