-- purpose: what accounts, postings and journal entries say, as the text the hash of an entry is taken over: one place.
-- Free text carries its length, so that no two entries share a text; accounts are told by name, not by number. A posting
-- without an account says so: its label is null and left out. Every line begins with the line feed that
-- parts it from what is before it in that text.
CREATE OR REPLACE TEMP MACRO account_label(kind, owner, asset) AS
    kind || '|' || length(owner) || ':' || owner || '|' || asset;

CREATE OR REPLACE TEMP MACRO posting_line(
    leg, debit_label, credit_label, amount, effective_for, booked_on, component, base_amount, rate
) AS concat_ws(
    '|', chr(10) || leg, debit_label, credit_label, amount, effective_for, booked_on, component,
    coalesce(CAST(base_amount AS VARCHAR), '-'), coalesce(CAST(rate AS VARCHAR), '-')
);

CREATE OR REPLACE TEMP MACRO entry_line(
    entity, year, number, document_kind, document_id, entry_no, booked_on, posted_at, run_id, created_by
) AS concat_ws(
    '|', chr(10) || length(entity) || ':' || entity, year, number, document_kind,
    length(document_id) || ':' || document_id, entry_no, booked_on, epoch_us(posted_at),
    length(run_id) || ':' || run_id, length(created_by) || ':' || created_by
);
