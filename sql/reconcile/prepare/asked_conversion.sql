-- purpose: the conversions of which it may be said otherwise now whether a partner told of them.
-- grain: one conversion.
-- reads: conversion, new_conversion, new_click, named_conversion (those with an open break or a decision), evidence (every
--        state the touched sales had), waiting_days (days a program gives its partner). Parameters last_day, day.
-- key: conversion_id.
-- Whatever now answers one that is open is among the touched; what answered one is too, if it changed.
SELECT DISTINCT conversion_id
FROM (
    SELECT conversion_id FROM new_conversion
    UNION ALL
    SELECT conversion_id FROM named_conversion
    UNION ALL
    SELECT c.conversion_id FROM conversion AS c SEMI JOIN new_click AS n ON n.click_id = c.click_id
    UNION ALL
    SELECT c.conversion_id FROM conversion AS c SEMI JOIN evidence AS e ON e.order_ref = c.order_ref
    UNION ALL
    SELECT c.conversion_id FROM conversion AS c SEMI JOIN evidence AS e ON e.click_id = c.click_id
    UNION ALL
    SELECT c.conversion_id
    FROM conversion AS c
    JOIN waiting_days AS w ON TRUE
    WHERE c.occurred_at + INTERVAL 1 DAY * w.days < $day AND c.occurred_at + INTERVAL 1 DAY * w.days >= $last_day
) AS asked
ORDER BY conversion_id
