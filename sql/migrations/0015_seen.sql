-- purpose: what reconcile and accrue saw when they last ran, so that the next run looks at what changed since.
-- reads: 0001. Forward only.
-- None of this is a fact: to forget it only makes the next run look at everything once more.

CREATE TABLE ops.reconciled (
    entity text PRIMARY KEY,
    day date NOT NULL,
    -- Of all whose change touches any sale: configuration, code, programs, rules, terms, aliases, openings.
    inputs_hash text NOT NULL,
    sealed_until timestamp,
    run_id text NOT NULL
);
CREATE TABLE ops.reconciled_input (
    kind text NOT NULL CHECK (kind IN ('delivery', 'tracked_file', 'decision', 'payout')),
    input_id text NOT NULL,
    state text NOT NULL,
    PRIMARY KEY (kind, input_id)
);

-- Files of the lake with what sales can be found by (order, click, amount), each state a sale ever had among them.
CREATE TABLE ops.sale_link_file (
    object_path text PRIMARY KEY,
    row_count bigint NOT NULL
);

CREATE TABLE ops.accrued (
    entity text PRIMARY KEY,
    day date NOT NULL,
    inputs_hash text NOT NULL,
    run_id text NOT NULL
);
CREATE TABLE ops.accrued_rate (
    rate_on date PRIMARY KEY,
    rates_hash text NOT NULL
);
-- Sales whose facts changed since they were accrued.
CREATE TABLE ops.touched_sale (sale_id text PRIMARY KEY);

-- A complete answer is compared with all that is known of its days.
CREATE INDEX transaction_version_occurred ON ops.transaction_version (partner_account, occurred_at);
CREATE INDEX sale_day ON ops.sale (sale_on);

GRANT SELECT, INSERT, UPDATE, DELETE ON ops.reconciled, ops.reconciled_input, ops.sale_link_file, ops.accrued,
    ops.accrued_rate, ops.touched_sale TO tallyback_pipeline;
