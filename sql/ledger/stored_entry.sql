-- purpose: stored journal entries with how many postings they have.
-- grain: one journal entry.
-- reads: entry, numbered_posting (year, number of each posting).
-- key: year, number.
WITH counted AS (
    SELECT year, number, count(*) AS posting_count FROM numbered_posting GROUP BY year, number
)
SELECT e.entity, e.year, e.number, e.document_kind, e.document_id, e.entry_no, e.booked_on, e.posted_at, e.run_id,
    e.created_by, coalesce(c.posting_count, 0) AS posting_count
FROM entry AS e
LEFT JOIN counted AS c ON c.year = e.year AND c.number = e.number
ORDER BY e.year, e.number
