-- purpose: what partners owe by contract, and what of a transaction that depends on.
-- reads: 0001. Forward only.

ALTER TABLE ops.transaction_version ADD COLUMN commission_group text, ADD COLUMN customer_type text;

CREATE TABLE ref.contract_term (
    term_id text PRIMARY KEY,
    program_id text NOT NULL,
    -- Null: for all groups, or customers, that no term names.
    commission_group text CHECK (commission_group <> ''),
    customer_type text CHECK (customer_type <> ''),
    basis text NOT NULL CHECK (basis IN ('rate', 'fixed')),
    value numeric(18, 6) NOT NULL CHECK (value >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    valid_from timestamp NOT NULL,
    valid_until timestamp CHECK (valid_until > valid_from)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON ref.contract_term TO tallyback_pipeline;
GRANT SELECT ON ref.contract_term TO tallyback_approver;
