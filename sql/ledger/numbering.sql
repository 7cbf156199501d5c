-- purpose: journal entries whose number does not follow the one before, or that postings and entries disagree about.
-- grain: one fault.
-- reads: entry, posting.
-- key: fault, document_kind, document_id, entry_no.
WITH placed AS (
    SELECT entity, document_kind, document_id, entry_no, year, number, booked_on,
        row_number() OVER (PARTITION BY entity, year ORDER BY number) AS number_due,
        row_number() OVER (PARTITION BY document_kind, document_id ORDER BY entry_no) AS entry_no_due
    FROM entry
),
line AS (
    SELECT entity, year, number, document_kind, document_id, entry_no, count(*) AS leg_count, max(leg) AS last_leg,
        min(booked_on) AS first_booked_on, max(booked_on) AS last_booked_on
    FROM posting
    GROUP BY entity, year, number, document_kind, document_id, entry_no
)
SELECT 'number' AS fault, document_kind, document_id, entry_no FROM placed WHERE number <> number_due
UNION ALL
SELECT 'entry_no' AS fault, document_kind, document_id, entry_no FROM placed WHERE entry_no <> entry_no_due
UNION ALL
SELECT 'legs' AS fault, e.document_kind, e.document_id, e.entry_no
FROM placed AS e
LEFT JOIN line AS l
    ON l.entity = e.entity AND l.year = e.year AND l.number = e.number
    AND l.document_kind = e.document_kind AND l.document_id = e.document_id AND l.entry_no = e.entry_no
WHERE l.leg_count IS NULL OR l.leg_count <> l.last_leg OR l.first_booked_on <> e.booked_on
    OR l.last_booked_on <> e.booked_on
UNION ALL
SELECT 'entry' AS fault, l.document_kind, l.document_id, l.entry_no
FROM line AS l
ANTI JOIN placed AS e
    ON l.entity = e.entity AND l.year = e.year AND l.number = e.number
    AND l.document_kind = e.document_kind AND l.document_id = e.document_id AND l.entry_no = e.entry_no
ORDER BY fault, document_kind, document_id, entry_no
