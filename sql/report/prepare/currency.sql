-- purpose: the digits after the point of the currencies that payouts were made in, as etl.core.money knows them.
-- grain, key: currency. Reads: nothing.
SELECT c.currency, c.scale
FROM unnest(%(currencies)s::text[], %(scales)s::integer[]) AS c (currency, scale)
