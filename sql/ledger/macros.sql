-- purpose: what accounts, postings and journal entries say, as the text the hash of an entry is taken over: one place.
-- Free text carries its length, so that no two entries share a text; accounts are told by name, not by number. A posting
-- without an account says so: its label is null and left out.
CREATE OR REPLACE TEMP MACRO account_label(kind, owner, asset) AS
    kind || '|' || length(owner) || ':' || owner || '|' || asset;

CREATE OR REPLACE TEMP MACRO posting_line(
    leg, debit_label, credit_label, amount, effective_for, booked_on, component, base_amount, rate
) AS concat_ws(
    '|', leg, debit_label, credit_label, amount, effective_for, booked_on, component,
    coalesce(CAST(base_amount AS VARCHAR), '-'), coalesce(CAST(rate AS VARCHAR), '-')
);
