-- purpose: what remit saw when it last ran and what it found of each sale, so that the next run looks at what changed.
-- reads: 0001, 0002, 0015. Forward only.
-- None of this is a fact: to forget it only makes the next run look at everything once more.

CREATE TABLE ops.remitted (
    entity text PRIMARY KEY,
    day date NOT NULL,
    -- Of all whose change touches any sale: configuration, code, programs, openings.
    inputs_hash text NOT NULL,
    run_id text NOT NULL
);
-- Of each account its remittances, the decisions about them, its write-offs, and the rates of their days.
CREATE TABLE ops.remitted_account (
    partner_account text PRIMARY KEY,
    state text NOT NULL
);
-- Rows of transactions that changed since, as they were and are; of a sale that changed otherwise its id alone.
CREATE TABLE ops.touched_row (
    sale_id text NOT NULL,
    partner_account text,
    transaction_id text,
    payment_ref text
);

-- What is approved of a sale against what was paid for it, whatever day it is (sql/remit/sale_outcome.sql).
CREATE TABLE ops.sale_outcome (
    sale_id text NOT NULL,
    currency text NOT NULL,
    partner_account text NOT NULL,
    transaction_id text NOT NULL,
    approved_on date,
    due_on date,
    approved_minor bigint NOT NULL,
    paid_minor bigint NOT NULL,
    carried_minor bigint NOT NULL,
    written_minor bigint NOT NULL,
    open_minor bigint NOT NULL,
    outcome text NOT NULL,
    PRIMARY KEY (sale_id, currency)
);

-- Which lines name a transaction or a payment is asked of every row that changed.
CREATE INDEX remittance_line_transaction ON ops.remittance_line (partner_account, transaction_id)
    WHERE transaction_id IS NOT NULL;
CREATE INDEX remittance_line_payment ON ops.remittance_line (partner_account, payment_ref) WHERE payment_ref IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON ops.remitted, ops.remitted_account, ops.touched_row, ops.sale_outcome
    TO tallyback_pipeline;
