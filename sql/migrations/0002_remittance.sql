-- purpose: remittances: what partners paid, as they told it, revision by revision.
-- reads: 0001. Forward only.

CREATE TABLE ops.remittance_file (
    sha256 text NOT NULL,
    partner_account text NOT NULL,
    name text NOT NULL,
    byte_count bigint NOT NULL,
    object_path text NOT NULL,
    layout_hash text NOT NULL,
    row_count bigint NOT NULL,
    reject_count bigint NOT NULL,
    loaded_at timestamp NOT NULL,
    loaded_by text NOT NULL CHECK (loaded_by <> ''),
    run_id text NOT NULL,
    PRIMARY KEY (sha256, partner_account)
);

-- Of one remittance the highest revision counts; those below it are superseded and stay.
CREATE TABLE ops.remittance (
    partner text NOT NULL,
    partner_account text NOT NULL,
    remittance_id text NOT NULL,
    revision integer NOT NULL CHECK (revision >= 1),
    invoice_ref text,
    invoiced_on date,
    due_on date,
    received_on date,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    net numeric(18, 4) NOT NULL,
    vat numeric(18, 4) NOT NULL,
    withholding numeric(18, 4) NOT NULL,
    gross numeric(18, 4) NOT NULL CHECK (gross = net + vat),
    bank text,
    bank_amount numeric(18, 4),
    bank_currency text CHECK (bank_currency ~ '^[A-Z]{3}$'),
    coverage text NOT NULL CHECK (coverage IN ('lines', 'period')),
    period_from date,
    period_until date CHECK (period_until > period_from),
    content_hash text NOT NULL,
    file_sha256 text NOT NULL,
    loaded_at timestamp NOT NULL,
    loaded_by text NOT NULL CHECK (loaded_by <> ''),
    run_id text NOT NULL,
    PRIMARY KEY (partner_account, remittance_id, revision),
    FOREIGN KEY (file_sha256, partner_account) REFERENCES ops.remittance_file,
    CHECK ((received_on IS NULL) = (bank IS NULL) AND (received_on IS NULL) = (bank_amount IS NULL)
           AND (received_on IS NULL) = (bank_currency IS NULL)),
    CHECK ((coverage = 'period') = (period_from IS NOT NULL) AND (period_from IS NULL) = (period_until IS NULL))
);

CREATE TABLE ops.remittance_line (
    partner_account text NOT NULL,
    remittance_id text NOT NULL,
    revision integer NOT NULL,
    line_no integer NOT NULL CHECK (line_no >= 1),
    kind text NOT NULL CHECK (kind IN
        ('commission', 'vat', 'withholding', 'fee', 'carry_forward', 'adjustment', 'set_off')),
    transaction_id text,
    line_id text CHECK (line_id IS NULL OR transaction_id IS NOT NULL),
    payment_ref text CHECK (payment_ref IS NULL OR transaction_id IS NULL),
    amount numeric(18, 4) NOT NULL,
    currency text NOT NULL,
    PRIMARY KEY (partner_account, remittance_id, revision, line_no),
    FOREIGN KEY (partner_account, remittance_id, revision) REFERENCES ops.remittance
);

-- What of a file could not be taken, as the last load of it saw it.
CREATE TABLE ops.remittance_reject (
    file_sha256 text NOT NULL,
    partner_account text NOT NULL,
    reject_no integer NOT NULL,
    row_number bigint NOT NULL,
    remittance_id text,
    column_name text,
    value text,
    reason text NOT NULL,
    PRIMARY KEY (file_sha256, partner_account, reject_no),
    FOREIGN KEY (file_sha256, partner_account) REFERENCES ops.remittance_file
);

DO $$
DECLARE target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['ops.remittance', 'ops.remittance_line'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', target);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON ops.remittance, ops.remittance_line TO tallyback_pipeline;
GRANT SELECT, INSERT, UPDATE ON ops.remittance_file TO tallyback_pipeline;
GRANT SELECT, INSERT, DELETE ON ops.remittance_reject TO tallyback_pipeline;
GRANT SELECT ON ops.remittance, ops.remittance_line TO tallyback_approver;

CREATE VIEW mart.remittance AS
SELECT r.partner, r.partner_account, r.remittance_id, r.revision, r.invoice_ref, r.invoiced_on, r.due_on,
       r.received_on, r.currency, r.net, r.vat, r.withholding, r.gross, r.bank, r.bank_amount, r.bank_currency,
       r.coverage, r.period_from, r.period_until,
       r.revision < max(r.revision) OVER (PARTITION BY r.partner_account, r.remittance_id) AS is_superseded
FROM ops.remittance AS r;

CREATE VIEW mart.remittance_line AS
SELECT l.partner_account, l.remittance_id, l.revision, l.line_no, l.kind, l.transaction_id, l.line_id, l.payment_ref,
       l.amount, l.currency
FROM ops.remittance_line AS l;

GRANT SELECT ON mart.remittance, mart.remittance_line TO tallyback_finance_read, tallyback_pipeline, tallyback_approver;
