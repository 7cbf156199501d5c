-- purpose: conversions as tracked, each once, whatever files hold it.
-- grain: one conversion.
-- reads: tracked_conversion.
-- key: conversion_id.
SELECT conversion_id, click_id, order_ref, occurred_at, amount, currency
FROM tracked_conversion
QUALIFY ROW_NUMBER() OVER (
    PARTITION BY conversion_id ORDER BY occurred_at, order_ref, click_id, amount, currency
) = 1
ORDER BY conversion_id
