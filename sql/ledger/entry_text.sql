-- purpose: what the hash of a journal entry is taken over: all it says and all its postings say, in one text.
-- grain: one journal entry.
-- reads: entry, posting, account.
-- key: entity, year, number.
-- Free text carries its length, so that no two entries share a text; accounts are told by name, not by number. A posting
-- without an account says so, and so does an entry without postings.
WITH line AS (
    SELECT p.document_kind, p.document_id, p.entry_no,
        string_agg(
            concat_ws(
                '|', p.leg,
                d.kind, length(d.owner) || ':' || d.owner, d.asset,
                c.kind, length(c.owner) || ':' || c.owner, c.asset,
                p.amount, p.effective_for, p.booked_on, p.component,
                coalesce(CAST(p.base_amount AS VARCHAR), '-'), coalesce(CAST(p.rate AS VARCHAR), '-')
            ), chr(10) ORDER BY p.leg
        ) AS text
    FROM posting AS p
    LEFT JOIN account AS d ON d.account_id = p.debit
    LEFT JOIN account AS c ON c.account_id = p.credit
    GROUP BY p.document_kind, p.document_id, p.entry_no
)
SELECT e.entity, e.year, e.number,
    concat_ws(
        '|', length(e.entity) || ':' || e.entity, e.year, e.number,
        e.document_kind, length(e.document_id) || ':' || e.document_id, e.entry_no,
        e.booked_on, epoch_us(e.posted_at), length(e.run_id) || ':' || e.run_id,
        length(e.created_by) || ':' || e.created_by
    ) || chr(10) || coalesce(l.text, 'no postings') AS text
FROM entry AS e
LEFT JOIN line AS l
    ON l.document_kind = e.document_kind AND l.document_id = e.document_id AND l.entry_no = e.entry_no
ORDER BY e.entity, e.year, e.number
