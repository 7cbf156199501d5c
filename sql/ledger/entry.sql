-- purpose: the journal entries that flows make: one for each document and day they are booked on, numbered without gaps.
-- grain: one journal entry.
-- reads: placed_flow, last_entry (document_id, entry_no), last_number (year, number).
-- key: year, number; also document_id, entry_no.
WITH booked AS (
    SELECT DISTINCT document_id, booked_on, CAST(year(booked_on) AS INTEGER) AS year
    FROM placed_flow
)
SELECT b.document_id, b.booked_on, b.year,
    CAST(
        coalesce(n.number, 0) + row_number() OVER (PARTITION BY b.year ORDER BY b.document_id, b.booked_on) AS BIGINT
    ) AS number,
    CAST(
        coalesce(e.entry_no, 0) + row_number() OVER (PARTITION BY b.document_id ORDER BY b.booked_on) AS INTEGER
    ) AS entry_no
FROM booked AS b
LEFT JOIN last_number AS n ON n.year = b.year
LEFT JOIN last_entry AS e ON e.document_id = b.document_id
ORDER BY b.year, number
