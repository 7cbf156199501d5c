-- purpose: what journal entries themselves say, as the first line of the text their hash is taken over.
-- grain: one journal entry.
-- reads: entry, in the order of the books, which is kept.
-- key: year, number.
-- parameters: entity, document_kind, posted_at, run_id, created_by, which all of them share.
SELECT year, number, posting_count,
    entry_line(
        $entity, year, number, $document_kind, document_id, entry_no, booked_on, $posted_at, $run_id, $created_by
    ) AS line
FROM entry
