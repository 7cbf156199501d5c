-- purpose: all tracked rows of some conversions: those asked about, and those with an order of some sales.
-- grain: one tracked row.
-- reads: tracked_conversion, asked, sale_order.
-- key: conversion_id, and all else.
WITH named AS (
    SELECT conversion_id FROM asked
    UNION
    SELECT c.conversion_id FROM tracked_conversion AS c SEMI JOIN sale_order AS s ON s.order_ref = c.order_ref
)
SELECT c.conversion_id, c.click_id, c.order_ref, c.occurred_at, c.amount, c.currency
FROM tracked_conversion AS c
SEMI JOIN named AS n ON n.conversion_id = c.conversion_id
ORDER BY ALL
