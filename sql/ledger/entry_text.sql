-- purpose: what a journal entry itself says, as the first line of the text its hash is taken over.
-- grain: one journal entry.
-- reads: entry, numbered_posting (year, number of each posting).
-- key: year, number.
-- Free text carries its length, so that no two entries share a text. posting_count says how many of the lines of postings
-- that follow are the entry's.
WITH counted AS (
    SELECT year, number, count(*) AS posting_count FROM numbered_posting GROUP BY year, number
)
SELECT e.year, e.number, coalesce(c.posting_count, 0) AS posting_count,
    concat_ws(
        '|', length(e.entity) || ':' || e.entity, e.year, e.number,
        e.document_kind, length(e.document_id) || ':' || e.document_id, e.entry_no,
        e.booked_on, epoch_us(e.posted_at), length(e.run_id) || ':' || e.run_id,
        length(e.created_by) || ':' || e.created_by
    ) AS text
FROM entry AS e
LEFT JOIN counted AS c ON c.year = e.year AND c.number = e.number
ORDER BY e.year, e.number
