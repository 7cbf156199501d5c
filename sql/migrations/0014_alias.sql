-- purpose: keys that moved to another account or id: what goes on as what, since when; undone by a higher revision.
-- reads: 0001. Forward only.

CREATE TABLE ref.alias (
    alias_id text NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    former_account text NOT NULL,
    former_transaction_id text NOT NULL,
    partner_account text NOT NULL,
    transaction_id text NOT NULL,
    moved_on date NOT NULL,
    state text NOT NULL CHECK (state IN ('in_force', 'void')),
    reason text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (alias_id, revision),
    CHECK ((former_account, former_transaction_id) <> (partner_account, transaction_id))
);

GRANT SELECT, INSERT ON ref.alias TO tallyback_pipeline;
GRANT SELECT ON ref.alias TO tallyback_approver;
