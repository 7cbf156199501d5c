-- purpose: postings are found by their entry's number, which grows as they are written, and a month by where it lies.
-- reads: ledger.posting, ledger.journal_entry. Forward only; run by Alembic as the owner. Copies all postings once.

-- Wide columns of one width come first: no row is padded between them. Each row balances by itself: debit and credit are
-- accounts of one asset, which the set-based check of the posting run proves before it commits.
CREATE TABLE ledger.numbered_posting (
    number bigint NOT NULL,
    debit bigint NOT NULL,
    credit bigint NOT NULL,
    amount bigint NOT NULL,
    year integer NOT NULL,
    leg integer NOT NULL,
    entry_no integer NOT NULL,
    effective_for date NOT NULL,
    booked_on date NOT NULL,
    entity text NOT NULL,
    document_kind text NOT NULL,
    document_id text NOT NULL,
    component text NOT NULL,
    base_amount numeric(20, 4),
    rate numeric(18, 12)
);
INSERT INTO ledger.numbered_posting
SELECT e.number, p.debit, p.credit, p.amount, e.year, p.leg, p.entry_no, p.effective_for, p.booked_on, p.entity,
       p.document_kind, p.document_id, p.component, p.base_amount, p.rate
FROM ledger.posting AS p
JOIN ledger.journal_entry AS e USING (document_kind, document_id, entry_no)
ORDER BY e.entity, e.year, e.number, p.leg;

DO $$
BEGIN
    IF (SELECT count(*) FROM ledger.numbered_posting) <> (SELECT count(*) FROM ledger.posting) THEN
        RAISE EXCEPTION 'some postings have no journal entry: nothing was changed. Run tallyback verify of the version before '
                        'this one, and repair what it names.';
    END IF;
END $$;

-- What names columns, and not the table, goes on: the views that read this one, and all grants on it.
CREATE OR REPLACE VIEW mart.posting AS
SELECT p.entity, j.document_kind, j.document_id, j.entry_no, p.leg,
       p.year, p.number, p.effective_for, p.booked_on, j.posted_at, j.run_id,
       d.kind AS debit_kind, d.owner AS debit_owner, c.kind AS credit_kind, c.owner AS credit_owner,
       split_part(d.asset, '/', 1) AS currency, split_part(d.asset, '/', 2)::integer AS scale,
       p.amount AS amount_minor,
       (p.amount / power(10::numeric, split_part(d.asset, '/', 2)::integer))::numeric(24, 4) AS amount,
       p.component, p.base_amount, p.rate
FROM ledger.numbered_posting AS p
JOIN ledger.account AS d ON d.account_id = p.debit
JOIN ledger.account AS c ON c.account_id = p.credit
JOIN ledger.journal_entry AS j ON j.entity = p.entity AND j.year = p.year AND j.number = p.number;

DROP TABLE ledger.posting;
ALTER TABLE ledger.numbered_posting RENAME TO posting;
ALTER TABLE ledger.posting
    ADD PRIMARY KEY (entity, year, number, leg),
    ADD CHECK (leg >= 1),
    ADD CHECK (amount > 0),
    ADD CHECK (credit <> debit),
    ADD CHECK (component IN ('commission', 'cashback', 'bonus', 'goodwill', 'referral', 'payout')),
    ADD CHECK ((base_amount IS NULL) = (rate IS NULL));
-- A month's postings lie together, so a few numbers a megabyte say where. No partitions: see decision 27.
CREATE INDEX posting_booked_on ON ledger.posting USING brin (booked_on) WITH (autosummarize = on);

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER refuse_closed AFTER INSERT ON ledger.posting
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_closed();
GRANT SELECT, INSERT ON ledger.posting TO tallyback_pipeline;
GRANT SELECT ON ledger.posting TO tallyback_approver;
