-- purpose: the documents that flows are of, in the order in which they are booked.
-- grain: one document.
-- reads: flow.
-- key: document_no, which counts from 1 in the order of the ids; also document_id.
WITH named AS (
    SELECT DISTINCT document_id FROM flow
)
SELECT CAST(row_number() OVER (ORDER BY document_id) AS BIGINT) AS document_no, document_id
FROM named
ORDER BY document_no
