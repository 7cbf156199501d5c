-- purpose: what remittances pay for, and what people say of them.
-- reads: 0002. Forward only.

CREATE TABLE ops.remittance_allocation (
    partner_account text NOT NULL,
    remittance_id text NOT NULL,
    line_no integer NOT NULL,
    transaction_id text NOT NULL,
    -- Empty: the transaction as a whole.
    line_id text NOT NULL,
    currency text NOT NULL,
    -- In 1/10,000 of the currency, as the partner side of the ledger counts.
    amount_minor bigint NOT NULL,
    rule text NOT NULL CHECK (rule IN ('transaction', 'payment_ref', 'period', 'until_period', 'oldest_first')),
    received_on date NOT NULL,
    -- Null while the partner carries the money forward.
    funded_on date,
    PRIMARY KEY (partner_account, remittance_id, line_no, transaction_id, line_id)
);
CREATE INDEX remittance_allocation_transaction ON ops.remittance_allocation (partner_account, transaction_id);

-- What a person said of one revision of a remittance; undone only by another decision.
CREATE TABLE ops.remittance_decision (
    decision_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('withhold', 'oldest_first', 'undo')),
    partner_account text NOT NULL,
    remittance_id text NOT NULL,
    revision integer NOT NULL,
    undoes text REFERENCES ops.remittance_decision,
    decided_by text NOT NULL CHECK (decided_by <> ''),
    decided_at timestamp NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    CHECK ((undoes IS NOT NULL) = (kind = 'undo')),
    FOREIGN KEY (partner_account, remittance_id, revision) REFERENCES ops.remittance
);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.remittance_decision
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

GRANT SELECT, INSERT, UPDATE, DELETE ON ops.remittance_allocation TO tallyback_pipeline;
GRANT SELECT ON ops.remittance_decision TO tallyback_pipeline;
GRANT SELECT ON ops.remittance_allocation TO tallyback_approver;
GRANT SELECT, INSERT ON ops.remittance_decision TO tallyback_approver;

CREATE VIEW mart.remittance_allocation AS
SELECT a.partner_account, a.remittance_id, a.line_no, a.transaction_id, a.line_id, a.currency,
       (a.amount_minor::numeric * 0.0001)::numeric(18, 4) AS amount, a.rule, a.received_on, a.funded_on
FROM ops.remittance_allocation AS a;

GRANT SELECT ON mart.remittance_allocation TO tallyback_finance_read, tallyback_pipeline, tallyback_approver;
