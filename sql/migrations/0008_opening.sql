-- purpose: openings: what members and partners were owed on the day before Tallyback counts itself, loaded and confirmed.
-- reads: 0001, 0002, 0006. Forward only; run by Alembic as the owner.
-- People write all of it, as the role of approvers: whoever loads an opening is not whoever confirms it.

CREATE TABLE ops.opening (
    opening_id text NOT NULL CHECK (opening_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    revision integer NOT NULL CHECK (revision >= 1),
    file_name text NOT NULL,
    file_sha256 text NOT NULL,
    byte_count bigint NOT NULL,
    object_path text NOT NULL,
    row_count bigint NOT NULL,
    control text NOT NULL,
    content_hash text NOT NULL,
    loaded_by text NOT NULL CHECK (loaded_by <> ''),
    loaded_at timestamp NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (opening_id, revision)
);

CREATE TABLE ops.opening_line (
    opening_id text NOT NULL,
    revision integer NOT NULL,
    line_no integer NOT NULL CHECK (line_no >= 1),
    kind text NOT NULL CHECK (kind IN
        ('cashback_pending', 'cashback_confirmed', 'cashback_payable', 'commission_receivable')),
    owner text NOT NULL CHECK (owner <> ''),
    -- Of a receivable: the transaction it is for; empty: all that is open at the account.
    reference text NOT NULL CHECK (reference = '' OR kind = 'commission_receivable'),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount numeric(18, 4) NOT NULL,
    as_of date NOT NULL,
    PRIMARY KEY (opening_id, revision, line_no),
    UNIQUE (opening_id, revision, kind, owner, reference, currency),
    FOREIGN KEY (opening_id, revision) REFERENCES ops.opening
);

CREATE TABLE ops.opening_approval (
    opening_id text NOT NULL,
    revision integer NOT NULL,
    approved_by text NOT NULL CHECK (approved_by <> ''),
    approved_at timestamp NOT NULL,
    PRIMARY KEY (opening_id, revision),
    FOREIGN KEY (opening_id, revision) REFERENCES ops.opening
);

-- One person cannot be two by spelling it differently (the same rule as identity() in etl/core/approval.py).
CREATE FUNCTION ops.is_same_person(one text, other text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT btrim(regexp_replace(lower(normalize(one, NFKC)), '\s+', ' ', 'g'))
        = btrim(regexp_replace(lower(normalize(other, NFKC)), '\s+', ' ', 'g'))
$$;

CREATE FUNCTION ops.refuse_own_opening() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM ops.opening AS o
               WHERE o.opening_id = NEW.opening_id AND o.revision = NEW.revision
                   AND ops.is_same_person(o.loaded_by, NEW.approved_by)) THEN
        RAISE EXCEPTION 'whoever loaded an opening does not confirm it (% revision %)', NEW.opening_id, NEW.revision;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_own_opening BEFORE INSERT ON ops.opening_approval
    FOR EACH ROW EXECUTE FUNCTION ops.refuse_own_opening();

DO $$
DECLARE target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['ops.opening', 'ops.opening_line', 'ops.opening_approval'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', target);
    END LOOP;
END $$;

-- The lines that count: of each opening those of the highest revision that was confirmed.
CREATE VIEW ops.opening_in_force AS
SELECT l.opening_id, l.revision, l.kind, l.owner, l.reference, l.currency, l.amount, l.as_of,
       concat_ws('/', l.opening_id, l.kind, l.owner, nullif(l.reference, '')) AS document_id
FROM ops.opening_line AS l
JOIN (SELECT opening_id, max(revision) AS revision FROM ops.opening_approval GROUP BY opening_id) AS a
    ON a.opening_id = l.opening_id AND a.revision = l.revision;

-- The first day whose sales are counted here and not in the opening, by account.
CREATE VIEW ops.cut_over AS
SELECT owner AS partner_account, max(as_of) + 1 AS cut_over
FROM ops.opening_in_force
WHERE kind = 'commission_receivable'
GROUP BY owner;

-- Sales that the opening holds: those before the cut-over of their account, and those it names, whenever they were.
CREATE VIEW ops.sale_in_opening AS
SELECT s.sale_id, s.partner_account
FROM ops.sale AS s
JOIN ops.cut_over AS c ON c.partner_account = s.partner_account
WHERE s.sale_on < c.cut_over
UNION
SELECT v.sale_id, v.partner_account
FROM ops.transaction_version AS v
JOIN ops.opening_in_force AS o
    ON o.kind = 'commission_receivable' AND o.owner = v.partner_account AND o.reference = v.transaction_id
WHERE o.reference <> '';

-- What is receivable and no sale: a remittance may name it as its transaction.
CREATE VIEW ops.receivable_item AS
SELECT o.owner AS partner_account,
       CASE o.reference WHEN '' THEN 'opening:' || o.opening_id ELSE o.reference END AS transaction_id,
       'opening' AS document_kind, o.document_id, o.currency, o.amount, o.as_of
FROM ops.opening_in_force AS o
WHERE o.kind = 'commission_receivable' AND o.amount <> 0;

-- Transactions of sales in openings, each with the item that stands for it: its own, else the account's lump, else none.
CREATE VIEW ops.opened_transaction AS
SELECT DISTINCT v.partner_account, v.transaction_id, coalesce(n.transaction_id, l.transaction_id) AS item_id,
       coalesce(n.document_id, l.document_id) AS document_id
FROM ops.sale_in_opening AS i
JOIN ops.transaction_version AS v ON v.sale_id = i.sale_id
LEFT JOIN ops.receivable_item AS n
    ON n.partner_account = v.partner_account AND n.transaction_id = v.transaction_id
LEFT JOIN ops.receivable_item AS l
    ON l.partner_account = v.partner_account AND l.transaction_id LIKE 'opening:%';

-- The document that a transaction a remittance names stands for, where that is no sale.
CREATE VIEW ops.paid_item AS
SELECT partner_account, transaction_id, document_kind, document_id FROM ops.receivable_item
UNION
SELECT partner_account, transaction_id, 'opening', document_id FROM ops.opened_transaction WHERE item_id IS NOT NULL;

GRANT SELECT ON ops.opening, ops.opening_line, ops.opening_approval TO tallyback_pipeline;
GRANT SELECT, INSERT ON ops.opening, ops.opening_line, ops.opening_approval TO tallyback_approver;
GRANT SELECT ON ops.opening_in_force, ops.cut_over, ops.sale_in_opening, ops.receivable_item, ops.opened_transaction,
    ops.paid_item TO tallyback_pipeline, tallyback_approver;

CREATE VIEW mart.opening AS
SELECT o.opening_id, o.revision, l.kind, l.owner, l.reference, l.currency, l.amount, l.as_of, o.loaded_by, o.loaded_at,
       a.approved_by, a.approved_at,
       EXISTS (SELECT 1 FROM ops.opening_in_force AS f
               WHERE f.opening_id = o.opening_id AND f.revision = o.revision) AS is_in_force
FROM ops.opening AS o
JOIN ops.opening_line AS l ON l.opening_id = o.opening_id AND l.revision = o.revision
LEFT JOIN ops.opening_approval AS a ON a.opening_id = o.opening_id AND a.revision = o.revision;
GRANT SELECT ON mart.opening TO tallyback_finance_read, tallyback_pipeline, tallyback_approver;
