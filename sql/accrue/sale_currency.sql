-- purpose: the currencies that versions of sales are told in, by the day of the sale: for which a rate may be needed.
-- grain: one currency on one day.
-- reads: version, sale.
-- key: sale_on, currency.
SELECT DISTINCT s.sale_on, v.currency
FROM version AS v
JOIN sale AS s ON s.sale_id = v.sale_id
ORDER BY s.sale_on, v.currency
