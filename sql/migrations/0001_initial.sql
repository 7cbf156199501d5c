-- purpose: the warehouse of one installation: schemas, tables, roles and the guards of the ledger.
-- reads: nothing. Forward only; run by Alembic as the owner. Needs no superuser and no extension.

CREATE SCHEMA ref;
CREATE SCHEMA ops;
CREATE SCHEMA ledger;
CREATE SCHEMA payout;
CREATE SCHEMA pii;
CREATE SCHEMA mart;
CREATE SCHEMA staging;

-- ref: what the business says ---------------------------------------------------------------------------------------

CREATE TABLE ref.program (
    program_id text NOT NULL,
    merchant_id text NOT NULL,
    partner text NOT NULL,
    partner_program_id text NOT NULL,
    name text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    commission_rate numeric(9, 6) CHECK (commission_rate >= 0),
    lookback_days integer NOT NULL CHECK (lookback_days > 0),
    validation_days integer CHECK (validation_days >= 0),
    valid_from timestamp NOT NULL,
    valid_until timestamp CHECK (valid_until > valid_from),
    PRIMARY KEY (program_id, valid_from)
);

CREATE TABLE ref.cashback_rule (
    rule_id text PRIMARY KEY,
    program_id text NOT NULL,
    basis text NOT NULL CHECK (basis IN ('commission_share', 'sale_rate', 'fixed')),
    value numeric(18, 6) NOT NULL CHECK (value >= 0),
    cap numeric(18, 4) CHECK (cap >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    rounding text NOT NULL CHECK (rounding IN ('half_even', 'half_up')),
    valid_from timestamp NOT NULL,
    valid_until timestamp CHECK (valid_until > valid_from)
);

CREATE TABLE ref.fx_rate (
    rate_on date NOT NULL,
    base text NOT NULL,
    quote text NOT NULL,
    rate numeric(18, 9) NOT NULL CHECK (rate > 0),
    source text NOT NULL,
    PRIMARY KEY (base, quote, rate_on, source)
);

CREATE TABLE ref.period (
    entity text NOT NULL,
    starts_on date NOT NULL CHECK (extract(day FROM starts_on) = 1),
    state text NOT NULL CHECK (state IN ('open', 'closing', 'closed')),
    PRIMARY KEY (entity, starts_on)
);

CREATE TABLE ref.gl_map (
    entity text NOT NULL,
    kind text NOT NULL,
    gl_account text NOT NULL,
    statement text NOT NULL CHECK (statement IN ('asset', 'liability', 'income', 'cost', 'memorandum')),
    PRIMARY KEY (entity, kind)
);

-- ops: what happened ------------------------------------------------------------------------------------------------

CREATE TABLE ops.run (
    run_id text PRIMARY KEY,
    stage text NOT NULL,
    key text NOT NULL,
    day date,
    started_at timestamp NOT NULL,
    ended_at timestamp,
    state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    code_version text NOT NULL,
    configuration_hash text NOT NULL,
    counts jsonb NOT NULL DEFAULT '{}',
    note text NOT NULL DEFAULT ''
);

CREATE TABLE ops.delivery (
    delivery_id text PRIMARY KEY,
    partner text NOT NULL,
    partner_account text NOT NULL,
    window_from date NOT NULL,
    window_until date NOT NULL CHECK (window_until > window_from),
    observed_at timestamp NOT NULL,
    sha256 text NOT NULL,
    byte_count bigint NOT NULL,
    states_scope boolean NOT NULL,
    is_secret_blanked boolean NOT NULL,
    landed_run text NOT NULL
);
CREATE INDEX delivery_account ON ops.delivery (partner_account, observed_at);

CREATE TABLE ops.delivery_part (
    delivery_id text NOT NULL REFERENCES ops.delivery,
    part_no integer NOT NULL CHECK (part_no >= 1),
    name text NOT NULL,
    media_type text NOT NULL,
    sha256 text NOT NULL,
    byte_count bigint NOT NULL,
    object_path text NOT NULL,
    PRIMARY KEY (delivery_id, part_no)
);

-- Rows in = transactions + rejects is a constraint, not a hope.
CREATE TABLE ops.parse (
    delivery_id text NOT NULL REFERENCES ops.delivery,
    parse_version integer NOT NULL,
    row_count bigint NOT NULL,
    transaction_count bigint NOT NULL,
    reject_count bigint NOT NULL,
    unkeyed_reject_count bigint NOT NULL,
    object_path text NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (delivery_id, parse_version),
    CHECK (row_count = transaction_count + reject_count)
);

CREATE TABLE ops.validation (
    delivery_id text NOT NULL,
    parse_version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('passed', 'held')),
    row_count bigint NOT NULL,
    accepted_count bigint NOT NULL,
    reject_count bigint NOT NULL,
    object_path text NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (delivery_id, parse_version),
    FOREIGN KEY (delivery_id, parse_version) REFERENCES ops.parse,
    CHECK (row_count = accepted_count + reject_count)
);

CREATE TABLE ops.reject (
    delivery_id text NOT NULL,
    parse_version integer NOT NULL,
    row_number bigint NOT NULL,
    stage text NOT NULL CHECK (stage IN ('parse', 'validate')),
    transaction_id text,
    line_id text,
    rule text NOT NULL,
    column_name text,
    value text,
    reason text NOT NULL,
    raw text NOT NULL,
    PRIMARY KEY (delivery_id, parse_version, row_number, stage, rule)
);

CREATE TABLE ops.check_result (
    delivery_id text NOT NULL,
    parse_version integer NOT NULL,
    check_name text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('reject', 'hold', 'warning')),
    is_passed boolean NOT NULL,
    expected text NOT NULL,
    actual text NOT NULL,
    failing_rows bigint NOT NULL,
    PRIMARY KEY (delivery_id, parse_version, check_name)
);

CREATE TABLE ops.hold_release (
    delivery_id text NOT NULL,
    parse_version integer NOT NULL,
    released_by text NOT NULL CHECK (released_by <> ''),
    released_at timestamp NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (delivery_id, parse_version)
);

-- Clicks and conversions stay in the lake, by day; these rows name the files that exist.
CREATE TABLE ops.tracked_file (
    relation text NOT NULL CHECK (relation IN ('click', 'conversion')),
    source text NOT NULL,
    day date NOT NULL,
    object_path text NOT NULL,
    row_count bigint NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (relation, source, object_path)
);

-- Clicks of all days before sealed_until are in: rules that need uniqueness may speak about them.
CREATE TABLE ops.click_seal (
    source text PRIMARY KEY,
    watermark timestamp NOT NULL,
    sealed_until timestamp NOT NULL
);

CREATE TABLE ops.transaction_version (
    partner text NOT NULL,
    partner_account text NOT NULL,
    transaction_id text NOT NULL,
    line_id text NOT NULL,
    kind text NOT NULL,
    original_transaction_id text,
    order_ref text,
    partner_program_id text,
    program_id text,
    click_ref text,
    partner_clicked_at timestamp,
    partner_clicked_precision_seconds integer,
    occurred_at timestamp NOT NULL,
    occurred_precision_seconds integer NOT NULL,
    processed_at timestamp,
    modified_at timestamp,
    status text CHECK (status IN ('pending', 'approved', 'declined')),
    raw_status text,
    partner_paid boolean NOT NULL,
    payment_ref text,
    reason text,
    sale_amount numeric(18, 4) NOT NULL,
    commission_amount numeric(18, 4) NOT NULL,
    currency text NOT NULL,
    delivery_id text NOT NULL,
    row_number bigint NOT NULL,
    content_hash text NOT NULL,
    observed_at timestamp NOT NULL,
    version_no integer NOT NULL,
    is_absent boolean NOT NULL,
    sale_id text NOT NULL,
    effective_on date NOT NULL,
    PRIMARY KEY (partner_account, transaction_id, line_id, version_no)
);
CREATE INDEX transaction_version_sale ON ops.transaction_version (sale_id);

-- A sale with the click it belongs to: one row for the unit of accrual.
CREATE TABLE ops.sale (
    sale_id text PRIMARY KEY,
    partner text NOT NULL,
    partner_account text NOT NULL,
    program_id text,
    merchant_id text,
    order_ref text,
    occurred_at timestamp NOT NULL,
    sale_on date NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('matched', 'unmatched', 'waiting')),
    rule text,
    click_id text,
    clicked_at timestamp,
    member_id text,
    -- False for the losing half of a duplicate: commission posts, cashback does not.
    earns_cashback boolean NOT NULL,
    is_payout_held boolean NOT NULL
);

CREATE TABLE ops.match (
    partner text NOT NULL,
    partner_account text NOT NULL,
    transaction_id text NOT NULL,
    line_id text NOT NULL,
    outcome text NOT NULL,
    click_id text,
    rule text,
    PRIMARY KEY (partner_account, transaction_id, line_id)
);

CREATE TABLE ops.break (
    partner text NOT NULL,
    partner_account text NOT NULL,
    transaction_id text NOT NULL,
    line_id text NOT NULL,
    kind text NOT NULL,
    sale_id text,
    expected text,
    found text,
    amount numeric(18, 4),
    currency text,
    evidence_hash text NOT NULL,
    opened_on date NOT NULL,
    opened_run text NOT NULL,
    PRIMARY KEY (partner_account, transaction_id, line_id, kind)
);

CREATE TABLE ops.decision (
    decision_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('accept_click', 'no_cashback', 'release_hold', 'undo')),
    sale_id text NOT NULL,
    click_id text CHECK ((click_id IS NOT NULL) = (kind = 'accept_click')),
    undoes text REFERENCES ops.decision,
    decided_by text NOT NULL CHECK (decided_by <> ''),
    decided_at timestamp NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    evidence_hash text NOT NULL
);

-- ledger: append only -----------------------------------------------------------------------------------------------

CREATE TABLE ledger.account (
    account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL,
    kind text NOT NULL,
    owner text NOT NULL,
    asset text NOT NULL CHECK (asset ~ '^[A-Z]{3}/[0-4]$'),
    UNIQUE (entity, kind, owner, asset)
);

CREATE TABLE ledger.journal_entry (
    entity text NOT NULL,
    year integer NOT NULL,
    number bigint NOT NULL CHECK (number >= 1),
    document_kind text NOT NULL CHECK (document_kind IN
        ('sale', 'remittance', 'payout', 'adjustment', 'opening', 'revaluation', 'write_off')),
    document_id text NOT NULL,
    entry_no integer NOT NULL CHECK (entry_no >= 1),
    booked_on date NOT NULL CHECK (extract(year FROM booked_on) = year),
    posted_at timestamp NOT NULL,
    run_id text NOT NULL,
    created_by text NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (entity, year, number),
    UNIQUE (document_kind, document_id, entry_no)
);

-- Each row balances by itself: debit and credit are accounts of one asset, which the set-based check of the posting
-- run proves before it commits (a foreign key row by row costs eight times the insert).
CREATE TABLE ledger.posting (
    document_kind text NOT NULL,
    document_id text NOT NULL,
    entry_no integer NOT NULL,
    leg integer NOT NULL CHECK (leg >= 1),
    entity text NOT NULL,
    debit bigint NOT NULL,
    credit bigint NOT NULL CHECK (credit <> debit),
    amount bigint NOT NULL CHECK (amount > 0),
    effective_for date NOT NULL,
    booked_on date NOT NULL,
    component text NOT NULL CHECK (component IN ('commission', 'cashback', 'bonus', 'goodwill', 'referral', 'payout')),
    base_amount numeric(20, 4),
    rate numeric(18, 12),
    PRIMARY KEY (document_kind, document_id, entry_no, leg),
    CHECK ((base_amount IS NULL) = (rate IS NULL))
);

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger rows are never changed: correct them with another posting (% on %)', TG_OP, TG_TABLE_NAME;
END $$;

-- payout ------------------------------------------------------------------------------------------------------------

CREATE TABLE payout.batch (
    batch_id text PRIMARY KEY,
    entity text NOT NULL,
    rail text NOT NULL,
    bank text NOT NULL,
    currency text NOT NULL,
    selected_for date NOT NULL,
    execute_on date NOT NULL,
    created_at timestamp NOT NULL,
    payout_count integer NOT NULL,
    total_minor bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('reserved', 'frozen', 'approved', 'submitting', 'sent', 'unknown', 'canceled')),
    released_by text,
    sha256 text,
    object_path text,
    remote_name text,
    CHECK ((state IN ('reserved', 'canceled')) OR sha256 IS NOT NULL)
);

CREATE TABLE payout.payout (
    payout_id text PRIMARY KEY,
    batch_id text NOT NULL REFERENCES payout.batch,
    member_id text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    payee_version integer NOT NULL,
    end_to_end_id text NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('reserved', 'in_flight', 'settled', 'returned', 'canceled')),
    UNIQUE (batch_id, member_id, currency)
);

CREATE TABLE payout.payout_line (
    payout_id text NOT NULL REFERENCES payout.payout,
    document_kind text NOT NULL,
    document_id text NOT NULL,
    amount_minor bigint NOT NULL,
    PRIMARY KEY (payout_id, document_kind, document_id)
);

CREATE TABLE payout.approval (
    batch_id text NOT NULL REFERENCES payout.batch,
    sha256 text NOT NULL,
    approved_by text NOT NULL CHECK (approved_by <> ''),
    approved_at timestamp NOT NULL,
    PRIMARY KEY (batch_id, sha256, approved_by)
);

-- The intent is committed before the first byte; an intent without an outcome is `unknown` and never sent again.
CREATE TABLE payout.transmission (
    batch_id text NOT NULL REFERENCES payout.batch,
    attempt integer NOT NULL CHECK (attempt >= 1),
    sha256 text NOT NULL,
    remote_name text NOT NULL,
    intended_at timestamp NOT NULL,
    outcome text CHECK (outcome IN ('sent', 'not_sent', 'unknown')),
    recorded_at timestamp,
    recorded_by text,
    evidence text NOT NULL DEFAULT '',
    PRIMARY KEY (batch_id, attempt)
);

CREATE TABLE payout.event (
    payout_id text NOT NULL REFERENCES payout.payout,
    event_no integer NOT NULL,
    event text NOT NULL CHECK (event IN ('reserved', 'transmitted', 'settled', 'returned', 'canceled')),
    happened_on date NOT NULL,
    recorded_by text NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (payout_id, event_no)
);

-- pii ---------------------------------------------------------------------------------------------------------------

CREATE TABLE pii.payee (
    member_id text NOT NULL,
    version integer NOT NULL CHECK (version >= 1),
    name_encrypted text NOT NULL,
    iban_encrypted text NOT NULL,
    iban_index text NOT NULL,
    iban_masked text NOT NULL,
    country text NOT NULL,
    changed_at timestamp NOT NULL,
    changed_by text NOT NULL,
    PRIMARY KEY (member_id, version)
);

-- guards and grants -------------------------------------------------------------------------------------------------

DO $$
DECLARE target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['ledger.journal_entry', 'ledger.posting', 'ledger.account', 'ops.decision',
                                  'ops.hold_release', 'payout.approval', 'payout.event'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', target);
    END LOOP;
    -- Roles are of the whole server: another warehouse on it may have made them.
    FOREACH target IN ARRAY ARRAY['tallyback_pipeline', 'tallyback_approver', 'tallyback_finance_read',
                                  'tallyback_pii_read'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', target);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        -- Whoever makes a role may administer it but not yet become it. PostgreSQL 15 knows no SET, there a member may.
        IF NOT pg_has_role(current_user, target, CASE WHEN current_setting('server_version_num')::integer < 160000
                                                      THEN 'MEMBER' ELSE 'SET' END) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', target);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA ref, ops, ledger, payout, mart TO tallyback_pipeline, tallyback_approver;
GRANT USAGE ON SCHEMA pii TO tallyback_pipeline, tallyback_approver, tallyback_pii_read;
GRANT USAGE, CREATE ON SCHEMA staging TO tallyback_pipeline;
GRANT USAGE ON SCHEMA mart TO tallyback_finance_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ref, ops TO tallyback_pipeline;
GRANT SELECT, INSERT, UPDATE ON payout.batch, payout.payout, payout.transmission TO tallyback_pipeline;
GRANT SELECT, INSERT ON payout.payout_line, payout.event, pii.payee TO tallyback_pipeline;
GRANT SELECT ON payout.approval TO tallyback_pipeline;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA ledger TO tallyback_pipeline;
GRANT SELECT ON ALL TABLES IN SCHEMA ref, ops, payout, pii TO tallyback_approver;
GRANT SELECT ON ledger.journal_entry TO tallyback_approver;
GRANT INSERT ON payout.approval, ops.decision, ops.hold_release TO tallyback_approver;
GRANT SELECT ON pii.payee TO tallyback_pii_read;

-- mart: the public contract -----------------------------------------------------------------------------------------

CREATE VIEW mart.posting AS
SELECT p.entity, p.document_kind, p.document_id, p.entry_no, p.leg,
       j.year, j.number, p.effective_for, p.booked_on, j.posted_at, j.run_id,
       d.kind AS debit_kind, d.owner AS debit_owner, c.kind AS credit_kind, c.owner AS credit_owner,
       split_part(d.asset, '/', 1) AS currency, split_part(d.asset, '/', 2)::integer AS scale,
       p.amount AS amount_minor,
       (p.amount / power(10::numeric, split_part(d.asset, '/', 2)::integer))::numeric(24, 4) AS amount,
       p.component, p.base_amount, p.rate
FROM ledger.posting AS p
JOIN ledger.account AS d ON d.account_id = p.debit
JOIN ledger.account AS c ON c.account_id = p.credit
JOIN ledger.journal_entry AS j USING (document_kind, document_id, entry_no);

-- Each posting seen from both of its accounts; a debit is positive.
CREATE VIEW mart.movement AS
SELECT entity, document_kind, document_id, entry_no, leg, effective_for, booked_on, posted_at, run_id,
       debit_kind AS kind, debit_owner AS owner, currency, scale, amount_minor, amount, component, base_amount
FROM mart.posting
UNION ALL
SELECT entity, document_kind, document_id, entry_no, leg, effective_for, booked_on, posted_at, run_id,
       credit_kind, credit_owner, currency, scale, -amount_minor, -amount, component, -base_amount
FROM mart.posting;

CREATE VIEW mart.balance AS
SELECT entity, kind, owner, currency, scale, sum(amount_minor) AS balance_minor, sum(amount) AS balance,
       sum(base_amount) AS base_balance
FROM mart.movement
GROUP BY entity, kind, owner, currency, scale;

GRANT SELECT ON ALL TABLES IN SCHEMA mart TO tallyback_finance_read, tallyback_pipeline, tallyback_approver;
